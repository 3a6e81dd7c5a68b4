"""What synthesize decides before it begins, precision and memory; neither shows where it must not."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fstore
import pipeline.stages.synthesize.plan as plan
from fstore.dataset_writer import DatasetWriter
from pipeline.cli import main
from pipeline.errors import UsageError
from pipeline.labelling.labelled_images import LabelledImages
from pipeline.labelling.labeller import ImageLabeller
from pipeline.settings.files import Config, with_overrides
from pipeline.stages.synthesize import stage
from pipeline.stages.synthesize.plan import SynthesizeJob, choose_precision, plan_memory

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def inputs(built: Path) -> Path:
    """A folder with a checkpoint in ``in/`` and an interpreter that was trained on it."""
    return built


def run(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == code, result.output
    return result


def synthesize(inputs: Path, store: Path, *more: str, code: int = 0) -> Result:
    flags = [
        "--checkpoint",
        str(inputs / "in" / "checkpoint.pt"),
        "--interpreter",
        str(inputs / "interpreter"),
    ]
    return run("synthesize", *flags, "--store", str(store), "--num", "6", *more, code=code)


def make_job(inputs: Path, store: Path | None = None, **settings: object) -> SynthesizeJob:
    config = with_overrides(Config(), "generator", checkpoint=inputs / "in" / "checkpoint.pt")
    store = store or inputs / "none.zarr"
    config = with_overrides(
        config, "synthesize", interpreter=inputs / "interpreter", store=str(store), **settings
    )
    return stage.prepare(config)


def recorded(store: Path) -> str:
    return fstore.open(store).meta.interpreter["precision"]


def agreeing(share: float):
    return lambda self, images, precision: share


@pytest.fixture
def has_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(name: str, device: torch.device) -> torch.dtype:
        return torch.float32 if name == "float32" else torch.bfloat16

    monkeypatch.setattr(plan, "resolve_precision", resolve)


@pytest.mark.parametrize(
    ("share", "expected", "notes"),
    [(0.9995, "bfloat16", 0), (0.999, "bfloat16", 0), (0.9985, "float32", 1)],
)
def test_auto_takes_bfloat16_where_its_labels_agree(
    inputs: Path, has_bfloat16: None, monkeypatch: pytest.MonkeyPatch, share: float, expected: str, notes: int
) -> None:
    monkeypatch.setattr(LabelledImages, "agreement", agreeing(share))
    said: list[str] = []
    job = choose_precision(make_job(inputs), CPU, said.append)
    assert job.meta.interpreter["precision"] == expected
    assert len(said) == notes
    assert all("0.15% of the pixels" in line and "float32" in line for line in said)


def test_agreement_is_the_share_of_equal_labels(inputs: Path) -> None:
    job = make_job(inputs)
    source = plan.make_source(job, CPU, torch.float32)
    assert source.agreement([0, 1], torch.float32) == 1
    exact = source.batch([0, 1], 2).tensors["labels"]
    rough = plan.make_source(job, CPU, torch.bfloat16).batch([0, 1], 2).tensors["labels"]
    assert source.agreement([0, 1], torch.bfloat16) == pytest.approx(float((exact == rough).double().mean()))


def test_a_named_precision_is_taken_and_recorded_unasked(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LabelledImages, "agreement", agreeing(0.0))
    for name in ("float32", "bfloat16"):
        synthesize(inputs, tmp_path / name, "--precision", name)
        assert recorded(tmp_path / name) == name


def test_auto_goes_on_with_what_a_store_was_begun_with_and_another_name_is_refused(
    inputs: Path, tmp_path: Path, has_bfloat16: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LabelledImages, "agreement", agreeing(1.0))
    store = tmp_path / "d.zarr"
    synthesize(inputs, store, "--precision", "float32")
    synthesize(inputs, store, "--num", "9")
    assert recorded(store) == "float32"
    result = synthesize(inputs, store, "--num", "9", "--precision", "bfloat16", code=2)
    assert "precision" in result.stderr
    synthesize(inputs, store, "--overwrite")
    assert recorded(store) == "bfloat16"


def test_the_check_of_the_precision_keeps_to_the_tile(
    inputs: Path, has_bfloat16: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    label = ImageLabeller.label

    def recorded_label(self: ImageLabeller, maps: object) -> object:
        rows.append(self.tile_rows)
        return label(self, maps)

    monkeypatch.setattr(ImageLabeller, "label", recorded_label)
    choose_precision(make_job(inputs), CPU, lambda _: None, tile_rows=8)
    assert set(rows) == {8}


def test_an_error_lets_the_same_process_go_on(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(inputs, tmp_path / "d.zarr", num=3, precision="float32")
    with monkeypatch.context() as patch:
        patch.setattr(LabelledImages, "batch", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError) as held:
            stage.synthesize(job, CPU)
    assert held.value is not None  # its frames keep the writer alive, but not its lock
    assert "3 of 3" in stage.synthesize(job, CPU)


@pytest.mark.usefixtures("tasks_of_16")
def test_a_failed_write_ends_the_run_with_its_line_and_the_rerun_is_whole(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "d.zarr"

    def full(self: object, task: int, parts: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(store))

    with monkeypatch.context() as patch:
        patch.setattr(DatasetWriter, "write_task", full)
        result = synthesize(inputs, store, "--num", "20", code=1)
    assert "the disk is full" in result.stderr
    synthesize(inputs, store, "--num", "20")
    assert len(fstore.open(store)) == 20


def test_an_interpreter_that_is_not_finite_is_refused(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(inputs)
    with torch.no_grad():
        job.interpreter.ensemble.weight1[0, 0, 0] = float("nan")
    with pytest.raises(UsageError, match="weight1 is not finite"):
        plan.make_source(job, CPU, torch.float32)


def test_neither_memory_budget_nor_tile_shows_in_the_dataset(inputs: Path, tmp_path: Path) -> None:
    ways = {"default": [], "budget": ["--memory-budget", "16GB"], "tile": ["--tile", "8"]}
    read = {}
    for name, flags in ways.items():
        synthesize(inputs, tmp_path / name, "--precision", "float32", *flags)
        store = fstore.open(tmp_path / name)
        arrays = ("images", "labels", "divergence", "uncertainty")
        read[name] = {array: store.lazy(array).compute() for array in arrays}
    for name in ("budget", "tile"):
        for array, values in read["default"].items():
            np.testing.assert_array_equal(read[name][array], values)


def test_a_budget_that_is_too_small_is_refused_before_anything_is_written(
    inputs: Path, tmp_path: Path
) -> None:
    result = synthesize(inputs, tmp_path / "d.zarr", "--memory-budget", "1MB", code=2)
    line = result.stderr.splitlines()[-1]
    assert "--memory-budget is 1 MB; synthesizing needs about" in line and "at least" in line
    assert not (tmp_path / "d.zarr").exists()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(budget=st.integers(10**6, 4 * 10**9), num=st.integers(1, 500), on_cpu=st.booleans())
def test_the_memory_plan_stays_within_the_budget(inputs: Path, budget: int, num: int, on_cpu: bool) -> None:
    job = make_job(inputs, num=num)
    device = CPU if on_cpu else torch.device("cuda")
    best = plan_memory(job, device, None)
    try:
        found = plan_memory(job, device, budget)
    except UsageError:
        least = plan_memory(job, device, best.host_bytes)  # what fits is found again
        assert budget < least.host_bytes
        return
    assert found.host_bytes <= budget
    assert found.host_bytes <= best.host_bytes
    assert plan_memory(job, device, found.host_bytes) == found


@pytest.mark.parametrize(("flag", "value"), [("--tile", "12"), ("--tile", "0"), ("--precision", "half")])
def test_bad_settings_are_refused_by_name(inputs: Path, tmp_path: Path, flag: str, value: str) -> None:
    result = synthesize(inputs, tmp_path / "d.zarr", flag, value, code=2)
    assert flag in result.stderr and "expected" in result.stderr
