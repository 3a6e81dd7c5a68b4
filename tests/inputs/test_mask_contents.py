"""Masks whose content is wrong, or unusual, are told in one line; none gives other labels in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.mask_folders import GRID, grey_png, labels_of, load, message_of, png, save_npy, save_picture

from pipeline.errors import UsageError


@pytest.mark.parametrize(
    ("mask", "options", "parts"),
    [
        (np.zeros((8, 8, 3), np.uint8), {}, ["(8, 8, 3)", "(height, width)"]),
        (np.zeros(8, np.uint8), {}, ["(8,)"]),
        (np.zeros(()), {}, ["()"]),
        (np.zeros((0, 8), np.uint8), {}, ["(0, 8)"]),
        (np.full(GRID, 0.5), {}, ["0.5", "(0, 0)", "whole numbers"]),
        (np.full(GRID, np.nan), {}, ["nan", "whole numbers"]),
        (np.full(GRID, np.inf), {}, ["inf", "whole numbers"]),
        (np.full(GRID, "a"), {}, ["<U1", "whole numbers"]),
        (np.full(GRID, 1j), {}, ["complex"]),
        (
            np.eye(8, dtype=int) * -3 + 3,
            {"num_classes": 3},
            ["label 3 at row 0, column 1", "56 of 64", "0 to 2"],
        ),
        (np.eye(8, dtype=int) * -1, {}, ["label -1 at row 0, column 0", "8 of 64"]),
        (np.full(GRID, 65536), {}, ["label 65536", "0 to 65535"]),
        (np.full(GRID, 2**64 - 1, np.uint64), {}, ["label 18446744073709551615"]),
        (np.full(GRID, 1e30), {}, ["label 1e+30"]),
        (np.full(GRID, 7), {"num_classes": 3, "ignore": 255}, ["label 7", "0 to 2, or 255 (ignored)"]),
    ],
)
def test_a_wrong_mask_is_named_in_one_line(
    tmp_path: Path, mask: Any, options: dict[str, Any], parts: list[str]
) -> None:
    message = message_of(save_npy(tmp_path, mask), **options)
    for part in ["image_mask0.npy", *parts]:
        assert part in message


@pytest.mark.parametrize("num_classes", [None, 2])
def test_masks_of_0_and_255_alone_hold_one_class(tmp_path: Path, num_classes: int | None) -> None:
    inside = labels_of(0) > 1
    folder = save_npy(tmp_path, np.uint8(255 * inside), np.zeros(GRID, np.uint8))
    loaded = load(folder, 2, num_classes=num_classes)
    np.testing.assert_array_equal(loaded.masks, [inside, 0 * inside])
    assert (loaded.num_classes, loaded.ignore) == (2, None)
    assert loaded.notes == (f"{tmp_path}: the masks hold 0 and 255 alone: 255 is taken as class 1",)
    assert load(folder, 2, num_classes=256).masks.max() == 255


def test_a_255_among_other_labels_is_asked_about_with_every_way_out(tmp_path: Path) -> None:
    mask = labels_of(0)
    message = message_of(save_npy(tmp_path, np.where(mask > 2, 255, mask)))
    for part in ["--ignore 255", "--label-map with from = [255]", "--num-classes 256"]:
        assert part in message
    folder = save_npy(tmp_path, np.uint8(255 * (mask > 1)), np.uint8(mask > 1))
    assert "label 255 in image_mask0.npy is out of range" in message_of(folder, 2, num_classes=2)


def test_labels_far_apart_are_noted(tmp_path: Path) -> None:
    (note,) = load(save_npy(tmp_path, 80 * labels_of(0))).notes  # grey levels, or a few of many classes
    assert "hold the labels 0, 80, 160, 240, which makes 241 classes" in note


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_an_array_in_place_of_a_folder_points_to_keypoints(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"points{suffix}"
    path.write_bytes(b"whatever")
    for location in (path, tmp_path):
        assert "pass --task keypoints" in message_of(location)


def test_masks_that_are_all_ignored_are_refused(tmp_path: Path) -> None:
    assert "every pixel" in message_of(save_npy(tmp_path, np.full(GRID, 255)), ignore=255)


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "image_mask0.npy", np.array([[{}]]), allow_pickle=True)
    assert "Python objects" in message_of(tmp_path)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_colour_png_is_refused_with_the_way_out(tmp_path: Path, mode: str) -> None:
    save_picture(tmp_path / "0.png")
    Image.open(tmp_path / "0.png").convert(mode).save(tmp_path / "0.png")
    assert "pixels are colours" in message_of(tmp_path) and "8-bit greyscale" in message_of(tmp_path)
    message = message_of(tmp_path, format="masks")
    assert f"mode is {mode}, colours" in message and "--annotation-format color" in message


@pytest.mark.parametrize("mode", ["LA", "RGB", "RGBA"])
def test_grey_is_read_however_it_is_stored(tmp_path: Path, mode: str) -> None:
    Image.fromarray(labels_of(0)).convert(mode).save(tmp_path / "0.png")
    loaded = load(tmp_path)
    np.testing.assert_array_equal(loaded.masks[0], labels_of(0))
    assert loaded.notes == ()


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_is_background_told_or_refused(tmp_path: Path, mode: str) -> None:
    def save(alpha: np.ndarray[Any, Any]) -> None:
        channels = [labels_of(0)] * (len(mode) - 1) if mode == "LA" else [labels_of(0)] * 3
        Image.fromarray(np.dstack([*channels, alpha.astype(np.uint8)]), mode).save(tmp_path / "0.png")

    save(255 * (labels_of(0) > 0))
    loaded = load(tmp_path)
    np.testing.assert_array_equal(loaded.masks[0], labels_of(0))
    clear = int((labels_of(0) == 0).sum())
    assert loaded.notes == (
        f"{tmp_path}: {clear} pixels of 0.png are transparent: they are taken as background",
    )
    save(255 * (labels_of(0) > 1))
    assert f"{(labels_of(0) == 1).sum()} of 64 pixels are transparent and not 0" in message_of(tmp_path)
    save(np.full(GRID, 128))
    assert "64 of 64 pixels are partly transparent" in message_of(tmp_path)


def test_a_transparent_palette_entry_is_a_label_as_any_other(tmp_path: Path) -> None:
    image = Image.fromarray(labels_of(0)).convert("P")
    image.putdata(labels_of(0).ravel().tolist())
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save(tmp_path / "0.png", transparency=0)
    np.testing.assert_array_equal(load(tmp_path).masks[0], labels_of(0))


def test_colours_of_16_bits_are_no_labels(tmp_path: Path) -> None:
    rows = b"".join(b"\0" + row.astype(">u2").repeat(3).tobytes() for row in labels_of(0))
    (tmp_path / "0.png").write_bytes(png(GRID, 16, 2, rows))  # Pillow reads the high bytes: all zero
    assert "RGB channels of 16 bits" in message_of(tmp_path)


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_mask_is_turned_as_its_exif_says(tmp_path: Path, turn: int) -> None:
    mask = labels_of(0)
    # EXIF 2.32, section 4.6.4: where the stored row 0 and column 0 are shown.
    stored = {
        1: mask,
        2: mask[:, ::-1],
        3: mask[::-1, ::-1],
        4: mask[::-1],
        5: mask.T,
        6: np.rot90(mask, 1),
        7: mask[::-1, ::-1].T,
        8: np.rot90(mask, -1),
    }[turn]
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "0.png", exif=exif)
    np.testing.assert_array_equal(load(tmp_path).masks[0], mask)


def test_a_file_that_is_no_png_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"text"):
        (tmp_path / "0.png").write_bytes(content)
        assert "0.png: cannot be read as PNG" in message_of(tmp_path)
    Image.fromarray(labels_of(0)).save(tmp_path / "0.png", format="JPEG")
    assert "0.png: is a file of JPEG, whatever its name says; export it as PNG" in message_of(tmp_path)
    (tmp_path / "0.png").unlink()
    (tmp_path / "0.png").mkdir()
    assert "0.png: cannot be read (Is a directory)" in message_of(tmp_path)


WHOLE_PNG = grey_png(labels_of(0, (64, 64)), 8)


@given(st.integers(0, len(WHOLE_PNG) - 13))  # the closing IEND chunk carries nothing
def test_a_truncated_png_is_always_refused(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    folder = tmp_path_factory.mktemp("cut")
    (folder / "0.png").write_bytes(WHOLE_PNG[:length])
    assert "0.png: cannot be read as PNG, or is truncated" in message_of(folder)


@given(st.integers(0, len(WHOLE_PNG) - 1), st.integers(1, 255))
def test_a_damaged_png_never_gives_other_labels(
    tmp_path_factory: pytest.TempPathFactory, position: int, flip: int
) -> None:
    folder = tmp_path_factory.mktemp("bent")
    bent = bytes([WHOLE_PNG[position] ^ flip])
    (folder / "0.png").write_bytes(WHOLE_PNG[:position] + bent + WHOLE_PNG[position + 1 :])
    try:
        np.testing.assert_array_equal(load(folder, grid=(64, 64)).masks[0], labels_of(0, (64, 64)))
    except UsageError as error:
        assert "0.png" in str(error) and "\n" not in str(error)


def test_a_truncated_npy_is_refused(tmp_path: Path) -> None:
    path = save_npy(tmp_path, labels_of(0)) / "image_mask0.npy"
    path.write_bytes(path.read_bytes()[:-1])
    assert "image_mask0.npy" in message_of(tmp_path) and "truncated" in message_of(tmp_path)
