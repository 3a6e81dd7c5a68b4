"""The interpreter's folder is replaced while a dataset is labelled: nothing more is committed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from support.synthesis import CPU, make_job, synthesize

import fstore
from pipeline.errors import RunError
from pipeline.interpreter.files import load_interpreter, save_interpreter
from pipeline.interpreter.identity import check_unchanged
from pipeline.labelling.labelled_images import LabelledImages
from pipeline.stages.synthesize import stage


@pytest.fixture
def own(inputs: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint and the interpreter, which the test may change."""
    for name in ("in", "interpreter"):
        shutil.copytree(inputs / name, tmp_path / name)
    return tmp_path


def replace_interpreter(folder: Path) -> None:
    found = load_interpreter(folder)
    with torch.no_grad():
        found.ensemble.weight1 += 1
    save_interpreter(folder, found.ensemble, found.info, found.average_latent)


def when_batch(first: int, change: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have ``change`` called while the batch that begins with this image is made."""
    batch = LabelledImages.batch

    def changing(self: LabelledImages, images: range, wanted: int) -> object:
        if images[0] == first:
            change()
        return batch(self, images, wanted)

    monkeypatch.setattr(LabelledImages, "batch", changing)


@pytest.mark.usefixtures("tasks_of_4")
def test_tasks_are_committed_up_to_the_change_and_none_after_it(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, folder = own / "d.zarr", own / "interpreter"
    job = make_job(own, store, num=12, precision="float32", render_batch=4)
    when_batch(8, lambda: replace_interpreter(folder), monkeypatch)
    with pytest.raises(RunError, match="interpreter: is no longer the interpreter that this run has loaded"):
        stage.synthesize(job, CPU)
    dataset = fstore.open(store)
    assert len(dataset) in (4, 8) and dataset.meta.keep is None
    assert dataset.meta.interpreter["sha256"] == job.interpreter.sha256
    monkeypatch.undo()
    line = synthesize(own, store, "--num", "12", "--precision", "float32", "--render-batch", "4", code=2)
    assert "sha256" in line.stderr  # the store is of the earlier one


def test_a_folder_that_goes_away_is_named(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, folder = own / "d.zarr", own / "interpreter"
    when_batch(2, lambda: (folder / "interpreter.json").unlink(), monkeypatch)
    result = synthesize(own, store, "--precision", "float32", code=1)
    line = result.stderr.splitlines()[-1]
    assert str(folder) in line and "holds no interpreter" in line
    assert len(fstore.open(store)) == 0


def test_the_same_folder_written_again_is_the_same(own: Path) -> None:
    found = load_interpreter(own / "interpreter")
    save_interpreter(own / "interpreter", found.ensemble, found.info, found.average_latent)
    check_unchanged(own / "interpreter", found.sha256)
    replace_interpreter(own / "interpreter")
    with pytest.raises(RunError, match="expected " + found.sha256[:12]):
        check_unchanged(own / "interpreter", found.sha256)
