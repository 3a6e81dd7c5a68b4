"""Synthesis as a whole: after an error the same command goes on, and how memory is shared does not show."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
import torch
from support.synthesis import CPU, make_job, synthesize

import fstore
from fstore.dataset_writer import DatasetWriter
from pipeline.errors import UsageError
from pipeline.labelling.labelled_images import LabelledImages
from pipeline.stages.synthesize import stage
from pipeline.stages.synthesize.job import make_source


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


@pytest.mark.usefixtures("tasks_of_4")
def test_a_failed_write_ends_the_run_with_its_line_and_the_rerun_is_whole(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "d.zarr"

    def full(self: object, task: int, parts: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(store))

    with monkeypatch.context() as patch:
        patch.setattr(DatasetWriter, "write_task", full)
        result = synthesize(inputs, store, "--num", "6", "--precision", "float32", code=1)
    assert "the disk is full" in result.stderr
    synthesize(inputs, store, "--num", "6", "--precision", "float32")
    assert len(fstore.open(store)) == 6


def test_an_interpreter_that_is_not_finite_is_refused(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(inputs)
    with torch.no_grad():
        job.interpreter.ensemble.weight1[0, 0, 0] = float("nan")
    with pytest.raises(UsageError, match="weight1 is not finite"):
        make_source(job, CPU, torch.float32)


def test_neither_memory_budget_nor_tile_shows_in_the_dataset(inputs: Path, tmp_path: Path) -> None:
    ways = {"default": [], "budget": ["--memory-budget", "16GB"], "tile": ["--tile", "8"]}
    read = {}
    for name, flags in ways.items():
        synthesize(inputs, tmp_path / name, "--precision", "float32", "--num", "3", *flags)
        store = fstore.open(tmp_path / name)
        arrays = ("images", "labels", "member_votes", "divergence", "uncertainty")
        read[name] = {array: store.lazy(array).compute() for array in arrays}
    for name in ("budget", "tile"):
        for array, values in read["default"].items():
            np.testing.assert_array_equal(read[name][array], values)


@pytest.mark.parametrize(("flag", "value"), [("--tile", "12"), ("--tile", "0"), ("--precision", "half")])
def test_bad_settings_are_refused_by_name(inputs: Path, tmp_path: Path, flag: str, value: str) -> None:
    result = synthesize(inputs, tmp_path / "d.zarr", flag, value, code=2)
    assert flag in result.stderr and "expected" in result.stderr
