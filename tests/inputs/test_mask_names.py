"""Which files of a folder are masks, and of which image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.mask_folders import GRID, labels_of, load, message_of, save_picture

from pipeline.errors import UsageError
from pipeline.inputs.annotations.load import load_annotations, open_annotations
from pipeline.settings.schema import AnnotationsConfig


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert "does not exist" in message_of(tmp_path / "none")
    (tmp_path / "file").write_text("")
    assert "not a folder" in message_of(tmp_path / "file")


def test_no_annotations_given_is_told_with_the_way_out() -> None:
    with pytest.raises(UsageError, match="no annotations are given; pass --annotations"):
        open_annotations(AnnotationsConfig())


def test_a_folder_without_annotations_shows_what_it_holds_and_what_is_expected(tmp_path: Path) -> None:
    assert "it is empty; expected masks {i}.png" in message_of(tmp_path)
    np.save(tmp_path / "points.npy", labels_of(0))
    assert "no annotations are found; in it are points.npy" in message_of(tmp_path)


def test_the_numbers_are_those_of_the_files_whatever_is_missing(tmp_path: Path) -> None:
    for i in (7, 2, 30):
        np.save(tmp_path / f"image_mask{i}.npy", np.full(GRID, i))
    np.save(tmp_path / "latents_image_2.npy", labels_of(0))
    config = AnnotationsConfig(folder=tmp_path, min_pixels=0)
    source = open_annotations(config)
    assert source.numbers == (2, 7, 30)
    assert source.hint == "names not read as masks: latents_image_2.npy"
    chosen = load_annotations(source, [30, 2], grid=GRID, config=config)
    assert chosen.masks[:, 0, 0].tolist() == [30, 2]


@pytest.mark.parametrize(
    ("mask", "picture"),
    [
        ("image_mask{}.npy", "{}.png"),  # the picture has a mask's name
        ("image_mask{}.png", "{}.png"),
        ("{}.png", "image_{}.png"),
        ("image_mask{}.png", "image_{}.jpg"),
    ],
)
def test_pictures_beside_the_masks_are_not_taken_for_masks(tmp_path: Path, mask: str, picture: str) -> None:
    for i in range(3):
        save_picture(tmp_path / picture.format(i))
    for i in range(2):
        if mask.endswith("npy"):
            np.save(tmp_path / mask.format(i), labels_of(i))
        else:
            Image.fromarray(labels_of(i)).save(tmp_path / mask.format(i))
    np.testing.assert_array_equal(load(tmp_path, 2).masks, [labels_of(0), labels_of(1)])


def test_one_channel_files_named_as_pictures_are_masks_where_nothing_else_is(tmp_path: Path) -> None:
    Image.fromarray(labels_of(0)).save(tmp_path / "image_0.png")
    np.testing.assert_array_equal(load(tmp_path).masks[0], labels_of(0))
    Image.fromarray(labels_of(1)).save(tmp_path / "0.png")  # the better name
    np.testing.assert_array_equal(load(tmp_path).masks[0], labels_of(1))
    (tmp_path / "0.png").unlink()
    save_picture(tmp_path / "image_0.png")
    assert "no annotations" in message_of(tmp_path)


@pytest.mark.parametrize(
    ("first", "second"),
    [("0.png", "image_mask0.npy"), ("00.png", "0.png"), ("image_mask0.png", "image_mask0.npy")],
)
def test_two_masks_of_one_image_are_refused(tmp_path: Path, first: str, second: str) -> None:
    for name in (first, second):
        if name.endswith("png"):
            Image.fromarray(labels_of(0)).save(tmp_path / name)
        else:
            np.save(tmp_path / name, labels_of(0))
    message = message_of(tmp_path)
    assert first in message and second in message and "image 0" in message


def test_numbers_may_be_padded_with_zeros(tmp_path: Path) -> None:
    for i in range(3):
        Image.fromarray(np.full(GRID, i, np.uint8)).save(tmp_path / f"{i:03d}.png")
    assert load(tmp_path, 3).masks[:, 0, 0].tolist() == [0, 1, 2]
