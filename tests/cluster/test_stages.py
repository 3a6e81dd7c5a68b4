"""Stages whose work is shared: the same bytes as by one process, and what a worker must find.

Workers are threads here, which share this process's torch; test_local.py has processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clusters import thread_cluster
from support.commands import dgan, done
from support.stores import store_bytes
from support.tiny import input_flags, write_checkpoint

import fstore
from pipeline.stages.extract import workers as extract_workers
from pipeline.stages.synthesize import workers as synthesize_workers


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with thread_cluster() as made:
        yield made


@pytest.fixture
def shared(cluster: Any) -> list[str]:
    """Flags with which the cluster does the work."""
    return ["--scheduler", cluster.scheduler_address]


EXTRACT = ["extract-features", "--threads", "1", *input_flags(Path("in"))]
SYNTHESIZE = ["synthesize", "--checkpoint", "in/checkpoint.pt", "--threads", "1", "--num", "40"]


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(["--layout", "dense"], id="dense", marks=pytest.mark.slow),
        pytest.param(["--layout", "pyramid", "--noise", "random"], id="pyramid"),
        pytest.param(
            ["--layout", "pyramid", "--render-batch", "3"], id="short-last-batch", marks=pytest.mark.slow
        ),
    ],
)
def test_features_are_the_same_bytes(folder: Path, shared: list[str], more: list[str]) -> None:
    done(*EXTRACT, *more, "--store", "one.zarr")
    said = done(*EXTRACT, *more, *shared, "--store", "many.zarr")
    assert store_bytes(folder / "many.zarr") == store_bytes(folder / "one.zarr")
    assert said.stdout.startswith("many.zarr: 4 images committed")


@pytest.mark.slow  # as an export is, in tests/cluster/test_export.py
@pytest.mark.parametrize("batch", ["1", "4"])
def test_a_store_that_one_process_began_is_gone_on_with(folder: Path, shared: list[str], batch: str) -> None:
    words = [*EXTRACT, "--layout", "pyramid", "--render-batch", batch]
    done(*words, "--store", "whole.zarr")
    done(*words, "--store", "begun.zarr")
    for image in (1, 3):
        (folder / "begun.zarr" / "committed" / "c" / str(image)).unlink()
        part = folder / "begun.zarr" / "images" / "c" / str(image) / "0" / "0" / "0"
        part.write_bytes(part.read_bytes()[:9])  # what a machine that lost power may leave
    done(*words, *shared, "--store", "begun.zarr")
    assert store_bytes(folder / "begun.zarr") == store_bytes(folder / "whole.zarr")


@given(st.integers(0, 100), st.integers(1, 20))
def test_tasks_of_extraction_have_several_batches_until_few_are_left(batches: int, workers: int) -> None:
    """With several a worker writes one while it renders the next; one each lets all end together."""
    left, sizes = batches, []
    while left:
        sizes.append(extract_workers.task_size(left, workers))
        left -= sizes[-1]
    assert left == 0 and sizes == sorted(sizes, reverse=True)
    assert all(1 <= size <= 4 for size in sizes)
    assert sizes[:1] == [4] or batches < 4 * workers


def test_a_finished_store_asks_for_no_workers(folder: Path) -> None:
    done(*EXTRACT)
    done(*EXTRACT, "--scheduler", "tcp://127.0.0.1:9")  # where nobody answers


@pytest.mark.slow
def test_keypoints_are_the_same_bytes(folder: Path, shared: list[str]) -> None:
    words = ["extract-features", "--task", "keypoints", "--layout", "pyramid", "--resolution", "16"]
    (folder / "dgan.toml").write_text("demo = true\n[latents]\nmax_images = 3\n")
    done(*words, "--store", "one.zarr")
    done(*words, *shared, "--store", "many.zarr")
    assert store_bytes(folder / "many.zarr") == store_bytes(folder / "one.zarr")


@pytest.mark.parametrize("precision", [pytest.param("auto", marks=pytest.mark.slow), "float32"])
def test_datasets_are_the_same_bytes(
    trained: Path, shared: list[str], tasks_of_16: None, precision: str
) -> None:
    words = [*SYNTHESIZE, "--precision", precision, "--keep", "0.5"]
    one = done(*words, "--store", "one.zarr")
    many = done(*words, *shared, "--store", "many.zarr")
    assert store_bytes(trained / "many.zarr") == store_bytes(trained / "one.zarr")
    assert many.stdout == one.stdout.replace("one.zarr", "many.zarr")


@pytest.mark.slow
def test_a_dataset_is_gone_on_with_and_lengthened(
    trained: Path, shared: list[str], tasks_of_16: None
) -> None:
    done(*SYNTHESIZE, "--store", "whole.zarr")
    done(*SYNTHESIZE, "--num", "20", *shared, "--store", "many.zarr")
    (trained / "many.zarr" / "committed" / "c" / "0").unlink()
    done(*SYNTHESIZE, *shared, "--store", "many.zarr")
    assert store_bytes(trained / "many.zarr") == store_bytes(trained / "whole.zarr")


def test_the_plan_says_who_works(trained: Path) -> None:
    for words in (SYNTHESIZE, EXTRACT):
        lines = done(*words, "--workers", 3, "--overwrite", "--dry-run").stdout.splitlines()
        assert lines[-1] == "workers      3 worker processes; memory and time above are of one process"


@pytest.mark.parametrize("words", [EXTRACT, pytest.param(SYNTHESIZE, marks=pytest.mark.slow)])
def test_a_worker_with_another_checkpoint_is_left_out(
    trained: Path, shared: list[str], words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its file system has another file under the same name."""
    other = write_checkpoint(tmp_path / "other.pt", seed=1)
    for module in (extract_workers, synthesize_workers):
        begin = module.begin

        def elsewhere(request: Any, begin: Any = begin) -> Any:
            os.replace(other, Path("in/checkpoint.pt")) if other.exists() else None
            return begin(request)

        monkeypatch.setattr(module, "begin", elsewhere)
        elsewhere.__module__, elsewhere.__qualname__ = module.__name__, "begin"
    result = dgan(*words, *shared, "--force" if words is SYNTHESIZE else "--overwrite")
    assert result.exit_code == 1
    assert "no worker is left: worker inproc://" in result.stderr.splitlines()[-1]
    assert "sha256 is" in result.stderr.splitlines()[-1]


def test_a_worker_that_sees_another_store_is_left_out(
    folder: Path, shared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fstore.FeatureWriter, "id", property(lambda writer: os.urandom(4).hex()))
    result = dgan(*EXTRACT, *shared)
    assert result.exit_code == 1 and result.stderr.rstrip().endswith("features.zarr: is another store there")


def test_a_budget_that_is_too_small_is_refused_as_by_one_process(folder: Path, shared: list[str]) -> None:
    one = dgan(*EXTRACT, "--memory-budget", "1MB")
    many = dgan(*EXTRACT, *shared, "--memory-budget", "1MB")
    assert many.exit_code == one.exit_code == 2 and many.stderr == one.stderr
