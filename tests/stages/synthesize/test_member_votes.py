"""The members' votes in a dataset, counted pixel by pixel; and datasets of older programs, without them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.feature_maps import plain_logits
from support.stores import store_bytes
from support.synthesis import CPU, make_job, run, synthesize

import fstore
from fstore import format as fmt
from pipeline.labelling.labelled_images import LabelledImages
from pipeline.settings.classes import default_palette
from pipeline.stages.synthesize import preparation
from pipeline.stages.synthesize.job import make_source

EXACT = ("--precision", "float32")


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The program as it was before it recorded votes, until ``undo`` is called."""
    monkeypatch.setattr(preparation, "_are_votes_kept", lambda info: False)
    return monkeypatch


def test_votes_are_those_of_all_members_at_all_pixels(inputs: Path, tmp_path: Path) -> None:
    """Features resized by torch, and every member run over every pixel of them."""
    synthesize(inputs, tmp_path / "d.zarr", *EXACT)
    run("verify", str(tmp_path / "d.zarr"))
    dataset = fstore.open(tmp_path / "d.zarr")
    votes, labels = dataset.member_votes.compute(), dataset.labels.compute()
    job = make_job(inputs, tmp_path / "d.zarr", precision="float32")
    source, info = make_source(job, CPU, torch.float32), job.interpreter.info
    _, rendered = source._render(range(6))
    expected = np.zeros_like(votes)
    for image in range(6):
        maps = [values[image].clone() for values in rendered.features]
        said = plain_logits(job.interpreter.ensemble, maps, info.grid, info.crop_rows).argmax(2)  # [E, H * W]
        for member in said.numpy():
            np.add.at(expected[image], (labels[image].ravel(), member), 1)
    assert votes.sum() == 6 * info.members * labels[0].size
    assert np.abs(votes.astype(int) - expected).sum() < 1e-3 * votes.sum()  # outputs that are nearly equal


@pytest.mark.slow  # the older dataset below is gone on with too
@pytest.mark.usefixtures("tasks_of_4")
def test_an_interruption_and_threads_do_not_show(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--num", "7", *EXACT)
    synthesize(inputs, tmp_path / "whole.zarr", *flags, "--threads", "1")
    batch = LabelledImages.batch

    def fail(self: LabelledImages, images: range, wanted: int) -> object:
        return 1 / 0 if images[0] >= 6 else batch(self, images, wanted)

    with monkeypatch.context() as patch:
        patch.setattr(LabelledImages, "batch", fail)
        synthesize(inputs, tmp_path / "d.zarr", *flags, code=1)
    assert len(fstore.open(tmp_path / "d.zarr")) == 4
    synthesize(inputs, tmp_path / "d.zarr", *flags, "--threads", "2")
    assert store_bytes(tmp_path / "d.zarr") == store_bytes(tmp_path / "whole.zarr")


@pytest.mark.usefixtures("tasks_of_4")
def test_an_older_dataset_is_gone_on_with_and_stays_as_the_older_program_makes_it(
    inputs: Path, tmp_path: Path, older: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "d.zarr"
    synthesize(inputs, store, "--num", "6", *EXACT)
    synthesize(inputs, tmp_path / "old.zarr", "--num", "8", *EXACT)
    older.undo()
    older.setattr(fmt, "TASK_IMAGES", 4)
    synthesize(inputs, store, "--num", "8", *EXACT, "--dry-run")
    synthesize(inputs, store, "--num", "8", *EXACT)
    assert store_bytes(store) == store_bytes(tmp_path / "old.zarr")
    run("verify", str(store))
    run("filter", str(store), "--keep", "0.5")
    run("info", str(store))
    run("export", str(store), str(tmp_path / "out"), "--format", "png")
    assert len(fstore.torch_dataset(store)) == 4


def test_wide_and_huge_datasets_and_keypoints_have_none(inputs: Path) -> None:
    info = make_job(inputs).interpreter.info
    colors = default_palette(257)
    classes = tuple(fmt.ClassInfo(i, str(i), colors[i]) for i in range(257))
    assert preparation._are_votes_kept(replace(info, classes=classes[:256]))
    assert not preparation._are_votes_kept(replace(info, classes=classes))
    assert not preparation._are_votes_kept(
        replace(info, grid=(2**16, 2**16), crop_rows=(0, 2**16))
    )  # 2^32 and more
    assert not preparation._are_votes_kept(replace(info, keypoints=fmt.KeypointInfo(("a",), 1.0)))
