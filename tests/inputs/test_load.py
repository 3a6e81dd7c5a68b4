"""Annotation masks: formats, fitting to the grid, memory."""

from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.mask_folders import GRID, grey_png, labels_of, load, message_of, save_npy

from pipeline.inputs.annotations.load import load_annotations
from pipeline.inputs.annotations.raster.fitting import resize_nearest
from pipeline.inputs.annotations.source import AnnotationSource, MaskFile
from pipeline.rendering.latents import array_sha256
from pipeline.settings.schema import AnnotationsConfig

# --- formats ---


def test_the_released_format_and_both_png_names_may_be_mixed(tmp_path: Path) -> None:
    masks = [labels_of(i) for i in range(3)]
    np.save(tmp_path / "image_mask0.npy", masks[0])
    Image.fromarray(masks[1]).save(tmp_path / "1.png")
    Image.fromarray(masks[2]).save(tmp_path / "image_mask2.png")
    (tmp_path / "notes.txt").write_text("not a mask")
    np.save(tmp_path / "latent_stylegan1.npy", np.zeros((3, 8)))  # lies in the released folders
    loaded = load(tmp_path, 3)
    np.testing.assert_array_equal(loaded.masks, masks)
    assert (loaded.masks.dtype, loaded.num_classes) == (np.dtype(np.uint8), 4)
    assert loaded.palette is None and loaded.ignore is None


def test_masks_are_in_the_order_of_their_numbers_rather_than_their_names(tmp_path: Path) -> None:
    for i in range(12):
        Image.fromarray(np.full(GRID, i, np.uint8)).save(tmp_path / f"{i}.png")
    assert load(tmp_path, 12).masks[:, 0, 0].tolist() == list(range(12))


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">u2", "i8", "u8", "f4", "f8"])
def test_every_whole_number_dtype_is_read(tmp_path: Path, dtype: str) -> None:
    loaded = load(save_npy(tmp_path, labels_of(0).astype(dtype)))
    np.testing.assert_array_equal(loaded.masks[0], labels_of(0))


def test_booleans_are_classes_zero_and_one(tmp_path: Path) -> None:
    mask = labels_of(0) > 1
    loaded = load(save_npy(tmp_path, mask))
    np.testing.assert_array_equal(loaded.masks[0], mask.astype(np.uint8))


@pytest.mark.parametrize("shape", [(1, 8, 8), (8, 8, 1), (1, 8, 8, 1)])
def test_singleton_dimensions_are_dropped(tmp_path: Path, shape: tuple[int, ...]) -> None:
    loaded = load(save_npy(tmp_path, labels_of(0).reshape(shape)))
    np.testing.assert_array_equal(loaded.masks[0], labels_of(0))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_png_of_any_depth_gives_its_indices(tmp_path: Path, bits: int) -> None:
    mask = labels_of(0, num_classes=2 ** min(bits, 3))
    image = Image.fromarray(mask).convert("P")
    image.putdata(mask.ravel().tolist())
    image.putpalette([i * 7 % 256 for i in range(3 * 2**bits)])
    image.save(tmp_path / "0.png", bits=bits)
    loaded = load(tmp_path)
    np.testing.assert_array_equal(loaded.masks[0], mask)
    assert loaded.palette is not None and loaded.palette[:2] == ("#00070e", "#151c23")


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_greyscale_png_of_any_depth_gives_its_values(tmp_path: Path, bits: int) -> None:
    mask = labels_of(0, num_classes=2 ** min(bits, 9)) if bits < 16 else labels_of(0).astype(np.uint16) * 300
    (tmp_path / "0.png").write_bytes(grey_png(mask, bits))
    np.testing.assert_array_equal(load(tmp_path).masks[0], mask)


def test_over_256_classes_are_uint16(tmp_path: Path) -> None:
    mask = np.arange(64).reshape(GRID) * 10
    loaded = load(save_npy(tmp_path, mask))
    assert (loaded.masks.dtype, loaded.num_classes) == (np.dtype(np.uint16), 631)
    np.testing.assert_array_equal(loaded.masks[0], mask)
    assert load(tmp_path, num_classes=256 * 3, ignore=65535).masks.dtype == np.uint16


def test_a_file_below_255_with_a_wide_ignore_label_is_uint16(tmp_path: Path) -> None:
    mask = labels_of(0).astype(np.int32)
    mask[0] = 1000
    loaded = load(save_npy(tmp_path, mask), ignore=1000)
    assert (loaded.masks.dtype, loaded.num_classes, loaded.ignore) == (np.dtype(np.uint16), 4, 1000)


# --- fitting to the grid ---


@given(*[st.integers(1, 20)] * 4)
def test_the_resize_takes_the_pixel_under_each_centre(h: int, w: int, height: int, width: int) -> None:
    labels = np.arange(h * w).reshape(h, w)
    expected = [
        [labels[int((y + 0.5) * h / height), int((x + 0.5) * w / width)] for x in range(width)]
        for y in range(height)
    ]
    np.testing.assert_array_equal(resize_nearest(labels, height, width), expected)


@pytest.mark.parametrize("scale", [1, 2, 3, 16])
def test_a_mask_of_the_grids_aspect_is_cropped_and_one_of_the_crops_is_not(
    tmp_path: Path, scale: int
) -> None:
    whole = labels_of(0)
    large = whole.repeat(scale, axis=0).repeat(scale, axis=1)
    save_npy(tmp_path, large, large[1 * scale : 7 * scale])
    loaded = load(tmp_path, 2, crop_rows=(1, 7))
    assert loaded.masks.shape == (2, 6, 8)
    np.testing.assert_array_equal(loaded.masks[0], whole[1:7])
    np.testing.assert_array_equal(loaded.masks[1], whole[1:7])


def test_the_cars_of_the_released_code_fit_in_both_shapes(tmp_path: Path) -> None:
    whole = labels_of(0, (512, 512))
    save_npy(tmp_path, whole, whole[64:448])
    loaded = load(tmp_path, 2, grid=(512, 512), crop_rows=(64, 448))
    np.testing.assert_array_equal(loaded.masks[0], loaded.masks[1])


def test_a_side_may_be_rounded_by_a_pixel(tmp_path: Path) -> None:
    save_npy(tmp_path, np.zeros((67, 100)), np.zeros((66, 100)))  # 2:3 of 100 is 66.67
    assert load(tmp_path, 2, grid=(64, 96)).masks.shape == (2, 64, 96)


def test_the_nearer_aspect_decides_where_both_would_do(tmp_path: Path) -> None:
    mask = np.arange(15 * 16).reshape(15, 16)
    loaded = load(save_npy(tmp_path, mask), grid=(16, 16), crop_rows=(1, 16))
    np.testing.assert_array_equal(loaded.masks[0], mask)


@pytest.mark.parametrize("shape", [(4, 8), (8, 4), (6, 8), (16, 17)])
def test_any_other_aspect_is_refused_with_both_shapes(tmp_path: Path, shape: tuple[int, int]) -> None:
    message = message_of(save_npy(tmp_path, np.zeros(shape)), grid=(64, 64), crop_rows=(8, 32))
    for part in ["image_mask0.npy", f"{shape[0]} x {shape[1]}", "64 x 64", "24 x 64"]:
        assert part in message


@pytest.mark.parametrize("rows", [(0, 9), (4, 4), (-1, 4)])
def test_rows_outside_the_grid_are_refused(tmp_path: Path, rows: tuple[int, int]) -> None:
    message = message_of(save_npy(tmp_path, np.zeros(GRID)), crop_rows=rows)
    assert f"crop_rows is {rows}" in message and "8 rows" in message


# --- memory ---


@pytest.mark.parametrize(
    ("options", "dtype"),
    [({}, np.uint8), ({"num_classes": 300}, np.uint16), ({"ignore": 65535}, np.uint16)],
)
def test_masks_take_two_bytes_a_pixel_at_their_peak(options: dict[str, Any], dtype: type) -> None:
    """As many as the plan of extraction's memory counts."""
    num, side = 200, 64
    coarse = labels_of(1, (8, 8))
    source = AnnotationSource(
        Path("masks"),
        "masks",
        {number: f"{number}.npy" for number in range(num)},
        lambda number: MaskFile(np.roll(coarse, number).repeat(side // 8, 0).repeat(side // 8, 1), None),
    )
    config = AnnotationsConfig(min_pixels=300, **options)
    tracemalloc.start()
    loaded = load_annotations(source, source.numbers, grid=(side, side), config=config)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert loaded.masks.dtype == dtype
    assert peak < 3 * loaded.masks.size  # a list of them, stacked and converted, took over 8
    for number in range(num):
        wanted = source.read(number).labels.copy()
        for label in np.flatnonzero(np.bincount(wanted.ravel()) < 300):
            wanted[wanted == label] = 0
        np.testing.assert_array_equal(loaded.masks[number], wanted)


def test_the_hash_of_an_array_copies_nothing_of_it() -> None:
    array = np.arange(2**20, dtype="<u2").reshape(4, -1)
    tracemalloc.start()
    digest = array_sha256(array)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < array.nbytes / 10
    assert digest == hashlib.sha256(f"<u2{array.shape}".encode() + array.tobytes()).hexdigest()
