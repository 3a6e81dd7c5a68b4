"""Sharing out a memory budget: never more than it, least refused by name, nothing lost as it grows; and
what `dgan train` really takes at the true size (slow: it renders and writes).
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.places import REPOSITORY

from pipeline.errors import UsageError
from pipeline.stages.train.memory import BUFFER_MB, MIB, Demand, MemoryPlan, share_memory

sizes = st.integers(1, 3000 * MIB)
demands = st.builds(
    Demand,
    fixed_bytes=sizes,
    unit_bytes=st.integers(1, 100 * MIB),
    reading_bytes=st.integers(1, 100 * MIB),
    least_buffer_bytes=st.integers(1, 400 * MIB),
    epoch_bytes=sizes,
    pyramid_bytes=st.integers(0, 3000 * MIB),
)
FACE = Demand(1300 * MIB, 45 * MIB, 60 * MIB, 166 * MIB, 13000 * MIB, 1260 * MIB)
NO_CAP = 2**62


def share(demand: Demand, budget: int | None, buffer_mb: int | None = None, **changes: int) -> MemoryPlan:
    limits = {"cache_limit": NO_CAP, "threads": 2} | changes
    return share_memory(demand, budget=budget, buffer_mb=buffer_mb, **limits)


@given(demands, sizes, st.none() | st.integers(1, 600), st.integers(1, 8))
def test_a_plan_keeps_to_its_budget_or_names_the_least_that_will_do(
    demand: Demand, budget: int, buffer_mb: int | None, threads: int
) -> None:
    try:
        plan = share(demand, budget, buffer_mb, threads=threads)
    except UsageError as error:
        least = int(str(error).rsplit("give ", 1)[1].split("MB")[0]) * 10**6
        assert least > budget
        assert share(demand, least, buffer_mb, threads=threads).host_bytes <= least
        return
    assert plan.host_bytes <= budget
    assert 1 <= plan.threads <= threads and plan.units_ahead >= plan.threads
    assert plan.buffer_mb * MIB >= demand.least_buffer_bytes or buffer_mb == plan.buffer_mb


@given(demands, sizes, sizes)
def test_the_shuffle_buffer_never_shrinks_as_the_budget_grows(demand: Demand, a: int, b: int) -> None:
    budgets = sorted((a, b))
    try:
        small = share(demand, budgets[0])
    except UsageError:
        return
    assert share(demand, budgets[1]).buffer_mb >= small.buffer_mb


def test_without_a_budget_all_is_as_large_as_it_helps() -> None:
    plan = share(FACE, None)
    assert (plan.buffer_mb, plan.threads, plan.cached) == (BUFFER_MB, 2, True)
    assert not share(FACE, None, cache_limit=FACE.pyramid_bytes - 1).cached
    assert not share(replace(FACE, pyramid_bytes=0), None).cached


def test_a_given_buffer_is_kept_or_refused_by_name() -> None:
    assert share(FACE, 2500 * MIB, 300).buffer_mb == 300
    with pytest.raises(UsageError, match=r"this training takes at least .*, 900 MiB of it the shuffle"):
        share(FACE, 1700 * MIB, 900)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face generator's two images in both layouts, 512 x 512 x 5088."""
    sys.path.insert(0, str(REPOSITORY))
    from benchmarks import face_size, sampler

    made = tmp_path_factory.mktemp("face")
    sampler.make_stores(face_size.official_case("face"), made, 2)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["dense", "pyramid"])
@pytest.mark.parametrize(
    ("budget", "most_bytes"),
    [
        (None, 3 * 2**30),
        ("1750MB", 1750 * 10**6),  # little more than the least for the pyramid
    ],
)
def test_training_keeps_to_its_memory(folder: Path, layout: str, budget: str | None, most_bytes: int) -> None:
    from benchmarks.measure import DGAN, run_child

    flags = ["--store", f"{layout}.zarr", "--overwrite", "--steps", "300"]
    capped = ["--memory-budget", budget] if budget else []
    run = run_child([*DGAN, "train", *flags, *capped], folder)
    assert run.peak_bytes <= most_bytes


@pytest.mark.slow
def test_a_budget_below_the_least_is_refused_before_anything_is_written(folder: Path) -> None:
    from benchmarks.measure import DGAN, run_child

    command = [*DGAN, "train", "--store", "dense.zarr", "--out", "refused", "--memory-budget", "300MB"]
    with pytest.raises(RuntimeError, match=r"(?s)ended with 2: .*--memory-budget is 300 MB.* takes at least"):
        run_child(command, folder)
    assert not (folder / "refused").exists()
