"""Classes of masks: how many there are, those of few pixels, and their colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from support.mask_folders import GRID, labels_of, load, message_of, save_npy

from pipeline.settings.classes import default_palette

# --- classes ---


def test_a_class_that_one_image_lacks_still_counts(tmp_path: Path) -> None:
    loaded = load(save_npy(tmp_path, np.zeros(GRID, int), np.full(GRID, 5)), 2)
    assert loaded.num_classes == 6


def test_num_classes_counts_labels_that_the_crop_cuts_off(tmp_path: Path) -> None:
    mask = np.zeros(GRID, int)
    mask[0] = 3
    assert load(save_npy(tmp_path, mask), crop_rows=(4, 8)).num_classes == 4


def few_pixels() -> np.ndarray[Any, Any]:
    mask = np.zeros((16, 16), np.uint8)
    mask[0, :10] = 1  # 10 pixels
    mask[4:8] = 2  # 64 pixels
    return mask


@pytest.mark.parametrize(("min_pixels", "kept"), [(0, True), (10, True), (11, False)])
def test_small_classes_become_background(tmp_path: Path, min_pixels: int, kept: bool) -> None:
    loaded = load(save_npy(tmp_path, few_pixels()), grid=(16, 16), min_pixels=min_pixels)
    assert ((loaded.masks == 1).sum() == 10) == kept and ((loaded.masks == 1).any()) == kept
    assert (loaded.masks == 2).sum() == 64
    assert (loaded.num_classes, loaded.ignore) == (3, None)


def test_small_classes_are_counted_at_the_grid_and_in_each_image_alone(tmp_path: Path) -> None:
    large = few_pixels().repeat(4, axis=0).repeat(4, axis=1)  # 160 pixels in the file, 10 at the grid
    more = few_pixels()
    more[12:] = 1
    loaded = load(save_npy(tmp_path, large, more), 2, grid=(16, 16), min_pixels=30)
    assert not (loaded.masks[0] == 1).any()
    assert (loaded.masks[1] == 1).sum() == 74


def test_background_and_ignored_pixels_are_never_too_few(tmp_path: Path) -> None:
    mask = np.full(GRID, 1, np.uint8)
    mask[0, 0], mask[0, 1] = 0, 255
    loaded = load(save_npy(tmp_path, mask), min_pixels=30, ignore=255)
    np.testing.assert_array_equal(loaded.masks[0], mask)
    assert (loaded.num_classes, loaded.ignore) == (2, 255)


@pytest.mark.parametrize(
    ("classes", "ignore", "label", "dtype"),
    [
        (None, None, 255, np.uint8),
        (255, None, 255, np.uint8),
        (256, None, 65535, np.uint16),  # 255 is a class
        (3, 9, 9, np.uint8),
    ],
)
def test_small_classes_may_be_ignored(
    tmp_path: Path, classes: int | None, ignore: int | None, label: int, dtype: Any
) -> None:
    options: dict[str, Any] = {"grid": (16, 16), "min_pixels": 30, "small_classes": "ignore"}
    loaded = load(save_npy(tmp_path, few_pixels()), num_classes=classes, ignore=ignore, **options)
    assert (loaded.ignore, loaded.masks.dtype) == (label, np.dtype(dtype))
    assert (loaded.masks == label).sum() == 10 and not (loaded.masks == 1).any()


def test_an_ignored_class_in_the_middle_leaves_the_others_their_labels(tmp_path: Path) -> None:
    mask = labels_of(0)
    loaded = load(save_npy(tmp_path, mask), ignore=1)
    np.testing.assert_array_equal(loaded.masks[0], mask)
    assert (loaded.num_classes, loaded.ignore) == (4, 1)


# --- palettes ---


def save_palette(path: Path, mask: np.ndarray[Any, Any], palette: list[int]) -> None:
    image = Image.fromarray(mask).convert("P")
    image.putdata(mask.ravel().tolist())
    image.putpalette(palette)
    image.save(path)


def test_a_short_palette_is_completed(tmp_path: Path) -> None:
    mask = np.zeros(GRID, np.uint8)
    mask[0] = 1
    save_palette(tmp_path / "0.png", mask, [0, 0, 0, 255, 0, 0])
    palette = load(tmp_path, num_classes=5).palette
    assert palette == ("#000000", "#ff0000", *default_palette(5)[2:])


def test_palettes_that_number_their_colours_differently_are_refused(tmp_path: Path) -> None:
    mask = np.ones(GRID, np.uint8)
    save_palette(tmp_path / "0.png", mask, [0, 0, 0, 255, 0, 0])
    save_palette(tmp_path / "1.png", mask, [0, 0, 0, 0, 255, 0])
    message = message_of(tmp_path, 2)
    for part in ["1.png", "label 1", "#00ff00", "0.png", "#ff0000"]:
        assert part in message


def test_a_palette_may_differ_where_no_pixel_uses_it(tmp_path: Path) -> None:
    save_palette(tmp_path / "0.png", np.zeros(GRID, np.uint8), [0, 0, 0, 255, 0, 0])
    save_palette(tmp_path / "1.png", np.ones(GRID, np.uint8), [9, 9, 9, 0, 255, 0])
    assert load(tmp_path, 2).palette == ("#000000", "#00ff00")


@given(st.integers(1, 100), st.integers(1, 100))
@example(300, 150)  # of many classes it takes long
@settings(max_examples=20, deadline=None)
def test_default_colours_are_distinct_and_do_not_move_as_classes_are_added(a: int, b: int) -> None:
    check_default_colours(a, b)


@pytest.mark.slow
@given(st.integers(1, 300), st.integers(1, 300))
@settings(max_examples=20, deadline=None)
def test_default_colours_of_many_classes_are_distinct_and_do_not_move(a: int, b: int) -> None:
    check_default_colours(a, b)


def check_default_colours(a: int, b: int) -> None:
    short, long = sorted([default_palette(a), default_palette(b)], key=len)
    assert long[: len(short)] == short
    assert (len(long), len(set(long)), long[0]) == (max(a, b), max(a, b), "#000000")
