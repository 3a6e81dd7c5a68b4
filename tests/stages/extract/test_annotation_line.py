"""After extraction, one line says what looks wrong in the annotations, and nothing where all is well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from support.commands import done

from fstore.errors import StoreError
from pipeline import embedded

NUM = 4


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    embedded.write_inputs(folder, NUM)
    embedded.write_keypoints(folder, NUM)
    return folder


def extract(inputs: Path, store: Path, *options: object) -> Result:
    flags = ["--checkpoint", embedded.checkpoint_path(), "--latents", inputs / "latents.npy", "--no-check"]
    return done("extract-features", *flags, "--layout", "pyramid", "--store", store, *options)


def test_exact_masks_get_no_line_and_a_corrected_one_is_looked_at(inputs: Path, tmp_path: Path) -> None:
    masks, store = tmp_path / "masks", tmp_path / "f.zarr"
    masks.mkdir()
    exact = [np.load(inputs / "masks" / f"image_mask{image}.npy") for image in range(NUM)]
    for image, mask in enumerate(exact):
        np.save(masks / f"image_mask{image}.npy", mask)
    assert "annotations:" not in extract(inputs, store, "--annotations", masks).output
    np.save(masks / "image_mask1.npy", np.roll(exact[1], 4, axis=1))
    holed = exact[2].copy()
    holed[30, 30:32] = 0
    np.save(masks / "image_mask2.npy", holed)
    last = extract(inputs, store, "--annotations", masks).stdout.splitlines()[-1]
    assert last.startswith("annotations: ") and last.endswith(f"; see `dgan report {store}`")
    assert "boundary slips, 1 hole" in last
    again = extract(inputs, store, "--annotations", masks)  # nothing is rendered
    assert again.stdout.splitlines()[-1] == last


@pytest.mark.slow
def test_exchanged_keypoints_are_told_and_their_masks_are_not_looked_at(inputs: Path, tmp_path: Path) -> None:
    content = dict(np.load(inputs / "keypoints.npz"))
    content["keypoints"][1, 2] = content["keypoints"][1, 3]
    np.savez(tmp_path / "keypoints.npz", **content)
    options = ["--annotations", tmp_path / "keypoints.npz", "--task", "keypoints"]
    last = extract(inputs, tmp_path / "k.zarr", *options).stdout.splitlines()[-1]
    assert last == f"annotations: 1 odd keypoint; see `dgan report {tmp_path / 'k.zarr'}`"


def test_a_picture_that_cannot_be_read_does_not_undo_the_run(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object) -> None:
        raise StoreError("images: image 0: is damaged")

    monkeypatch.setattr("pipeline.stages.extract.stage.review_annotations", damaged)
    result = extract(inputs, tmp_path / "f.zarr", "--annotations", inputs / "masks")
    assert result.stdout.splitlines()[-1] == "annotations: not looked at: images: image 0: is damaged"
