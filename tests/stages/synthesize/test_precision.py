"""In which precision a dataset is labelled: what decides it, and what goes on with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from support.synthesis import CPU, make_job, synthesize

import fstore
from pipeline.labelling.labelled_images import LabelledImages
from pipeline.labelling.labeller import ImageLabeller
from pipeline.stages.synthesize import precision
from pipeline.stages.synthesize.job import make_source
from pipeline.stages.synthesize.precision import choose_precision


def recorded(store: Path) -> str:
    return fstore.open(store).meta.interpreter["precision"]


def agreeing(share: float):
    return lambda self, images, precision, **_: share


@pytest.fixture
def has_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(name: str, device: torch.device) -> torch.dtype:
        return torch.float32 if name == "float32" else torch.bfloat16

    monkeypatch.setattr(precision, "resolve_precision", resolve)


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
    source = make_source(job, CPU, torch.float32)
    assert source.agreement([0, 1], torch.float32, batch_size=2) == 1
    exact = source.batch([0, 1], 2).tensors["labels"]
    rough = make_source(job, CPU, torch.bfloat16).batch([0, 1], 2).tensors["labels"]
    assert source.agreement([0, 1], torch.bfloat16, batch_size=2) == pytest.approx(
        float((exact == rough).double().mean())
    )


def test_a_named_precision_is_taken_and_recorded_unasked(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LabelledImages, "agreement", agreeing(0.0))
    for name in ("float32", "bfloat16"):
        synthesize(inputs, tmp_path / name, "--precision", name, "--num", "2")
        assert recorded(tmp_path / name) == name


def test_auto_goes_on_with_what_a_store_was_begun_with_and_another_name_is_refused(
    inputs: Path, tmp_path: Path, has_bfloat16: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LabelledImages, "agreement", agreeing(1.0))
    store = tmp_path / "d.zarr"
    synthesize(inputs, store, "--num", "2", "--precision", "float32")
    synthesize(inputs, store, "--num", "3")
    assert recorded(store) == "float32"
    result = synthesize(inputs, store, "--num", "3", "--precision", "bfloat16", code=2)
    assert "precision" in result.stderr
    synthesize(inputs, store, "--num", "2", "--overwrite")
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
    monkeypatch.setattr(precision, "is_clear", lambda agreement: True)  # after the first images
    choose_precision(make_job(inputs), CPU, lambda _: None, tile_rows=8)
    assert set(rows) == {8}


@pytest.mark.slow
def test_sixteen_images_of_the_whole_dataset_decide_whatever_its_length_and_batch(
    inputs: Path, has_bfloat16: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[list[int]] = []
    render = LabelledImages._render

    def recorded_render(self: LabelledImages, images: Sequence[int]) -> object:
        rendered.append(list(images))
        return render(self, images)

    monkeypatch.setattr(LabelledImages, "_render", recorded_render)
    monkeypatch.setattr(precision, "is_clear", lambda agreement: False)
    found = []
    for settings in ({"num": 3}, {"num": 5000}, {"render_batch": 1}, {"render_batch": 64}):
        rendered.clear()
        choose_precision(make_job(inputs, **settings), CPU, lambda _: None)
        assert max(map(len, rendered)) <= settings.get("render_batch", 2)
        found.append([image for batch in rendered for image in batch])
    assert len(set(found[0])) == 16 and all(images == found[0] for images in found)
    for images in (found[0], found[0][:4]):  # spread over the images of a usual dataset
        images = sorted(images)
        assert (np.diff(images) > 1).all() and 500 < images[-1] < 1000


@pytest.mark.parametrize(
    ("shares", "expected", "compared"),
    [
        ((1.0,), "bfloat16", 4),  # nothing changes
        ((0.9965,), "float32", 4),
        ((0.9991, 1.0, 1.0), "bfloat16", 12),
        ((0.9985, 0.9996, 0.9997, 0.9997), "bfloat16", 16),
        ((0.9985, 0.9989, 0.9989, 0.9989), "float32", 16),
    ],
)
def test_a_clear_answer_needs_no_more_images(
    inputs: Path,
    has_bfloat16: None,
    monkeypatch: pytest.MonkeyPatch,
    shares: tuple[float, ...],
    expected: str,
    compared: int,
) -> None:
    asked: list[int] = []

    def agreement(self: LabelledImages, images: Sequence[int], *_: object, **__: object) -> float:
        asked.extend(images)
        return shares[len(asked) // 4 - 1]

    monkeypatch.setattr(LabelledImages, "agreement", agreement)
    said: list[str] = []
    job = choose_precision(make_job(inputs), CPU, said.append)
    assert (job.meta.interpreter["precision"], len(asked)) == (expected, compared)
    assert all(f"of {compared} images" in line for line in said)


@pytest.mark.slow
def test_all_images_that_decide_weigh_the_same(inputs: Path, has_bfloat16: None) -> None:
    """A batch in which bfloat16 fails decides nothing alone: all 16 are weighed."""
    job = make_job(inputs)
    source = make_source(job, CPU, torch.float32)
    shares = [source.agreement([i], torch.bfloat16, batch_size=1) for i in precision.COMPARED_IMAGES]
    whole = source.agreement(precision.COMPARED_IMAGES, torch.bfloat16, batch_size=4)
    assert whole == pytest.approx(np.mean(shares), abs=1e-3)


def test_dry_run_says_on_what_the_precision_depends(
    inputs: Path, tmp_path: Path, has_bfloat16: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LabelledImages, "agreement", agreeing(1.0))
    text = synthesize(inputs, tmp_path / "d.zarr", "--dry-run").stdout
    assert "bfloat16 products where the labels of up to 16 images agree with float32's" in text
    text = synthesize(inputs, tmp_path / "d.zarr", "--dry-run", "--precision", "float32").stdout
    assert "float32 products\n" in text
    synthesize(inputs, tmp_path / "d.zarr", "--num", "2")
    text = synthesize(inputs, tmp_path / "d.zarr", "--dry-run").stdout
    assert "bfloat16 products\n" in text
