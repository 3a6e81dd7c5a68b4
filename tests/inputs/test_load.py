"""Annotation masks: names, formats, fitting to the grid, small classes, palettes; one line a fault."""

from __future__ import annotations

import hashlib
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import UsageError
from pipeline.inputs.annotations.load import Annotations, load_annotations, open_annotations
from pipeline.inputs.annotations.raster.fitting import resize_nearest
from pipeline.inputs.annotations.source import AnnotationSource, MaskFile
from pipeline.rendering.latents import array_sha256
from pipeline.settings.classes import default_palette
from pipeline.settings.schema import AnnotationsConfig

GRID = (8, 8)


def labels_of(seed: int, shape: tuple[int, int] = GRID, num_classes: int = 4) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, num_classes, shape).astype(np.uint8)


def save_npy(folder: Path, *masks: Any) -> Path:
    for i, mask in enumerate(masks):
        np.save(folder / f"image_mask{i}.npy", mask)
    return folder


def load(folder: Path, num_images: int = 1, **options: Any) -> Annotations:
    grid, crop_rows = options.pop("grid", GRID), options.pop("crop_rows", None)
    config = AnnotationsConfig(folder=folder, **{"min_pixels": 0, **options})
    source = open_annotations(config)
    assert source.numbers == tuple(range(num_images))
    return load_annotations(source, source.numbers, grid=grid, crop_rows=crop_rows, config=config)


def message_of(folder: Path, num_images: int = 1, **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        load(folder, num_images, **options)
    message = str(caught.value)
    assert "\n" not in message and str(folder) in message
    return message


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


def png(shape: tuple[int, int], bits: int, color_type: int, rows: bytes) -> bytes:
    """A PNG of ``rows``, each a zero byte (no filter) and its pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", shape[1], shape[0], bits, color_type, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def grey_png(mask: np.ndarray[Any, Any], bits: int) -> bytes:
    """A greyscale PNG of 1, 2, 4, 8 or 16 bits a pixel: Pillow itself writes no 2 and no 4."""
    rows = b""
    for row in mask.tolist():
        digits = "".join(f"{value:0{bits}b}" for value in row)
        digits += "0" * (-len(digits) % 8)
        rows += b"\0" + bytes(int(digits[i : i + 8], 2) for i in range(0, len(digits), 8))
    return png(mask.shape, bits, 0, rows)


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


# --- names ---


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


def save_picture(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*GRID, 3)).astype(np.uint8)).save(path)


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


# --- contents ---


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
