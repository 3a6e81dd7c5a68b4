"""Colour masks and one PNG a class: which colour or file is which class, and pictures that are neither."""

from __future__ import annotations

import struct
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.annotations import load_masks, refusal_of

from pipeline.errors import UsageError
from pipeline.inputs.annotations.load import open_annotations
from pipeline.inputs.annotations.raster.png import read_colors, read_inside
from pipeline.inputs.annotations.source import TRANSPARENT
from pipeline.inputs.pairing import pair
from pipeline.settings.schema import AnnotationsConfig, ClassConfig

GRID = (6, 8)
CLASSES = (
    ClassConfig("background", "#000000"),
    ClassConfig("hair", "#ff0000"),
    ClassConfig("skin", "#00ff80"),
)
RGB = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 128]], np.uint8)
LABELS = np.random.default_rng(0).integers(0, 3, GRID)


load = partial(load_masks, grid=GRID)
message_of = partial(refusal_of, grid=GRID)


def save(path: Path, pixels: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


# --- colours ---


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_colour_is_the_class_that_has_it(tmp_path: Path, mode: str) -> None:
    Image.fromarray(RGB[LABELS]).convert(mode).save(tmp_path / "0.png")
    loaded = load(tmp_path, classes=CLASSES)
    np.testing.assert_array_equal(loaded.masks[0], LABELS)
    assert loaded.names == ("background", "hair", "skin")
    assert loaded.palette == ("#000000", "#ff0000", "#00ff80")


def test_the_classes_may_stand_in_a_file(tmp_path: Path) -> None:
    save(tmp_path / "masks" / "0.png", RGB[LABELS])
    path = tmp_path / "classes.toml"
    tables = [f'[[classes]]\nname = "{entry.name}"\ncolor = "{entry.color}"\n' for entry in CLASSES]
    path.write_text("# filled in by hand\r\n" + "".join(tables))
    np.testing.assert_array_equal(load(tmp_path / "masks", classes_file=path).masks[0], LABELS)
    with pytest.raises(UsageError, match="has 3 classes, but num_classes is 4"):
        load(tmp_path / "masks", classes_file=path, num_classes=4)


def test_transparent_pixels_are_class_zero(tmp_path: Path) -> None:
    pixels = np.concatenate([RGB[LABELS], np.full((*GRID, 1), 255)], axis=2)
    pixels[0, :, :] = 9, 9, 9, 0
    save(tmp_path / "0.png", pixels)
    assert (read_colors(tmp_path / "0.png")[0] == TRANSPARENT).all()
    loaded = load(tmp_path, classes=CLASSES)
    assert not loaded.masks[0, 0].any()
    assert loaded.notes == (f"{tmp_path}: 8 pixels of 0.png are transparent: they are taken as background",)
    np.testing.assert_array_equal(loaded.masks[0, 1:], LABELS[1:])


def test_class_zero_without_a_colour_is_black(tmp_path: Path) -> None:
    save(tmp_path / "0.png", RGB[LABELS])
    np.testing.assert_array_equal(
        load(tmp_path, classes=(ClassConfig("none"), *CLASSES[1:])).masks[0], LABELS
    )


def test_unknown_colours_are_listed_with_counts_files_and_the_nearest(tmp_path: Path) -> None:
    pixels = RGB[LABELS]
    pixels[0, :5] = 250, 4, 4
    save(tmp_path / "0.png", pixels)
    save(tmp_path / "1.png", pixels)
    message = message_of(tmp_path, classes=CLASSES)
    assert "#fa0404 (10 pixels in 0.png, 1.png; nearest is #ff0000 (hair))" in message
    assert "smoothed edges" in message and "[[annotations.classes]]" in message


def test_many_unknown_colours_are_cut_short(tmp_path: Path) -> None:
    save(tmp_path / "0.png", np.random.default_rng(0).integers(0, 256, (60, 80, 3)))
    message = message_of(tmp_path, classes=CLASSES)
    assert "more; add them" in message and len(message) < 700


def test_two_classes_of_one_colour_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "0.png", RGB[LABELS])
    classes = (*CLASSES, ClassConfig("hat", "#ff0000"))
    with pytest.raises(UsageError, match="'hair' and 'hat' are both #ff0000"):
        load(tmp_path, classes=classes)


def test_a_colour_mask_may_lie_beside_its_picture(tmp_path: Path) -> None:
    save(tmp_path / "image_mask0.png", RGB[LABELS])
    save(tmp_path / "0.png", np.random.default_rng(0).integers(0, 256, (*GRID, 3)))
    np.testing.assert_array_equal(load(tmp_path, classes=CLASSES).masks[0], LABELS)


def test_colours_among_grey_masks_are_refused_as_either_format(tmp_path: Path) -> None:
    save(tmp_path / "0.png", RGB[LABELS])
    save(tmp_path / "1.png", LABELS)
    assert "0.png: the PNG's mode is RGB, colours" in message_of(tmp_path)
    assert "#010101" in message_of(tmp_path, classes=CLASSES, format="color")  # grey 1 is that colour


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P"])
@pytest.mark.parametrize("beside", [False, True])
def test_a_colour_mask_that_is_all_background_may_be_grey(tmp_path: Path, mode: str, beside: bool) -> None:
    name = "image_mask{}.png" if beside else "{}.png"
    for i in range(2):
        save(tmp_path / name.format(i), RGB[LABELS])
    Image.new("L", (GRID[1], GRID[0])).convert(mode).save(tmp_path / name.format(2))
    for i in range(4 if beside else 0):  # of image 3 there is the picture alone
        save(tmp_path / f"{i}.png", np.random.default_rng(0).integers(0, 256, (*GRID, 3)))
    loaded = load(tmp_path, classes=CLASSES, format="color")
    np.testing.assert_array_equal(loaded.masks, [LABELS, LABELS, 0 * LABELS])


def test_grey_values_are_colours_of_three_equal_parts(tmp_path: Path) -> None:
    save(tmp_path / "0.png", 100 * LABELS)
    classes = (ClassConfig("a", "#000000"), ClassConfig("b", "#646464"), ClassConfig("c", "#c8c8c8"))
    np.testing.assert_array_equal(load(tmp_path, classes=classes, format="color").masks[0], LABELS)


def test_files_with_a_masks_name_that_are_not_read_are_told(tmp_path: Path) -> None:
    save(tmp_path / "image_mask0.png", LABELS)
    save(tmp_path / "0.png", np.random.default_rng(0).integers(0, 256, (*GRID, 3)))
    save(tmp_path / "image_mask1.png", RGB[LABELS])  # among pictures it could be one
    save(tmp_path / "image_mask2.jpg", LABELS)
    source = open_annotations(AnnotationsConfig(folder=tmp_path))
    assert source.numbers == (0,)
    assert source.unread == {1: "image_mask1.png", 2: "image_mask2.jpg"}
    with pytest.raises(UsageError) as caught:
        pair(source.numbers, range(3), location="m", hint=source.hint, unread=source.unread)
    assert "annotated-only" not in str(caught.value) and "image_mask1.png" in str(caught.value)
    with pytest.raises(UsageError, match="annotated-only"):  # these have no file
        pair(source.numbers, range(4), location="m", hint=source.hint, unread=())
    assert any("image_mask1.png" in note for note in source.notes)


def test_jpeg_masks_are_refused_with_the_reason(tmp_path: Path) -> None:
    save(tmp_path / "image_mask0.jpg", LABELS)
    assert "image_mask0.jpg cannot be masks: JPEG changes labels; export them as PNG" in message_of(tmp_path)


def test_a_damaged_colour_mask_is_named(tmp_path: Path) -> None:
    save(tmp_path / "0.png", RGB[LABELS])
    whole = (tmp_path / "0.png").read_bytes()
    for length in range(40, len(whole) - 12, 7):
        (tmp_path / "0.png").write_bytes(whole[:length])
        assert "0.png: cannot be read as PNG" in message_of(tmp_path, classes=CLASSES)


def test_a_png_that_declares_more_pixels_than_anyone_annotates_is_not_allocated(tmp_path: Path) -> None:
    size = 70_000, 40_000  # 2.8e9 pixels, of which none are there
    chunk = b"IHDR" + struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
    header = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header)
    assert "0.png: cannot be read as PNG" in message_of(tmp_path, classes=CLASSES)
    Image.new("1", (8193, 8192)).save(tmp_path / "0.png")
    assert "0.png: is 8192 x 8193; expected at most 67108864 pixels" in message_of(tmp_path)


def test_grey_stored_as_rgb_is_labels_unless_every_grey_is_a_classs_colour(tmp_path: Path) -> None:
    save(tmp_path / "0.png", np.dstack([LABELS] * 3))
    np.testing.assert_array_equal(load(tmp_path, classes=CLASSES).masks[0], LABELS)
    save(tmp_path / "0.png", np.dstack([100 * LABELS] * 3))
    classes = (ClassConfig("a", "#000000"), ClassConfig("b", "#c8c8c8"), ClassConfig("c", "#646464"))
    np.testing.assert_array_equal(load(tmp_path, classes=classes).masks[0], np.array([0, 2, 1])[LABELS])


# --- one PNG for each class ---

HAIR, SKIN = LABELS == 1, LABELS == 2


@pytest.mark.parametrize(
    "name", ["{}/{}.png", "{}_{}.png", "image_mask{}_{}.png", "{:05d}_{}.png", "0/{:05d}_{}.png"]
)
def test_every_way_to_name_the_files_of_classes_is_read(tmp_path: Path, name: str) -> None:
    for i in range(2):
        save(tmp_path / name.format(i, "hair"), 255 * HAIR)
        save(tmp_path / name.format(i, "l_brow"), SKIN)
    loaded = load(tmp_path)
    assert loaded.names == ("background", "hair", "l_brow")
    np.testing.assert_array_equal(loaded.masks, [LABELS, LABELS])


@pytest.mark.parametrize("name", ["{1}/{0}.png", "{1}/image_{0}.png"])
def test_a_folder_may_be_a_class(tmp_path: Path, name: str) -> None:
    for i in range(2):
        save(tmp_path / name.format(i, "hair"), 255 * HAIR)
        save(tmp_path / name.format(i, "l_brow"), SKIN)
        save(tmp_path / "images" / f"{i}.png", np.random.default_rng(0).integers(0, 256, (*GRID, 3)))
    loaded = load(tmp_path)
    assert loaded.names == ("background", "hair", "l_brow")
    assert loaded.notes == (f"{tmp_path}: its folders are taken as classes: hair, l_brow",)
    np.testing.assert_array_equal(loaded.masks, [LABELS, LABELS])


def test_one_folder_is_a_class_only_if_that_is_said(tmp_path: Path) -> None:
    save(tmp_path / "hair" / "0.png", HAIR)
    assert "no annotations are found; in it are hair" in message_of(tmp_path)
    np.testing.assert_array_equal(load(tmp_path, format="binary").masks[0], HAIR)
    save(tmp_path / "0.png", LABELS)  # what lies in the folder itself goes before
    np.testing.assert_array_equal(load(tmp_path).masks[0], LABELS)


def test_a_folder_of_masks_or_pictures_is_no_class(tmp_path: Path) -> None:
    for folder in ("masks", "images", "train", "val"):
        save(tmp_path / folder / "0.png", LABELS)
    assert "no annotations are found" in message_of(tmp_path)


def test_a_class_that_one_image_lacks_has_no_file_there(tmp_path: Path) -> None:
    save(tmp_path / "0_hair.png", HAIR)
    save(tmp_path / "1_skin.png", SKIN)
    loaded = load(tmp_path)
    np.testing.assert_array_equal(loaded.masks, [HAIR, 2 * SKIN])


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])  # CelebAMask-HQ's are RGB
def test_whatever_is_not_black_is_inside(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray((200 * HAIR).astype(np.uint8))
    image = (
        image.point(lambda value: 255 if value else 0).convert(mode) if mode != "P" else image.convert("P")
    )
    image.save(tmp_path / "0_hair.png")
    np.testing.assert_array_equal(read_inside(tmp_path / "0_hair.png"), HAIR)


def test_transparent_pixels_are_outside(tmp_path: Path) -> None:
    pixels = np.full((*GRID, 4), 255)
    pixels[..., 3] = 255 * HAIR
    save(tmp_path / "0_hair.png", pixels)
    np.testing.assert_array_equal(read_inside(tmp_path / "0_hair.png"), HAIR)


@pytest.mark.parametrize(
    ("classes", "overlap", "seen"),
    [
        ((), "later", "skin"),  # by name
        ((), "earlier", "hair"),
        (("background", "skin", "hair"), "later", "hair"),  # by the classes' order
        (("background", "skin", "hair"), "earlier", "skin"),
    ],
)
def test_where_two_classes_overlap_the_chosen_one_is_seen(
    tmp_path: Path, classes: tuple[str, ...], overlap: str, seen: str
) -> None:
    save(tmp_path / "0_hair.png", np.ones(GRID))
    save(tmp_path / "0_skin.png", np.ones(GRID))
    loaded = load(tmp_path, classes=tuple(map(ClassConfig, classes)), overlap=overlap)
    assert loaded.names is not None and loaded.names[loaded.masks[0, 0, 0]] == seen


def test_files_of_unknown_classes_are_listed(tmp_path: Path) -> None:
    save(tmp_path / "0_hiar.png", HAIR)
    message = message_of(tmp_path, classes=CLASSES)
    assert f"'hiar' ({HAIR.sum()} pixels in 0_hiar.png; nearest is hair)" in message


def test_sizes_that_differ_within_an_image_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "0_hair.png", HAIR)
    save(tmp_path / "0_skin.png", np.ones((12, 16)))
    message = message_of(tmp_path)
    assert "0_skin.png: is (12, 16)" in message and "0_hair.png is (6, 8)" in message


def test_a_picture_is_no_class_and_damage_is_named(tmp_path: Path) -> None:
    save(tmp_path / "0_hair.png", HAIR)
    save(tmp_path / "0_photo.png", np.random.default_rng(0).integers(0, 256, (*GRID, 3)))
    assert "0_photo.png: has colours" in message_of(tmp_path)
    (tmp_path / "0_photo.png").write_bytes(b"\x89PNG")
    assert "0_photo.png: cannot be read as PNG" in message_of(tmp_path)


def test_one_class_of_one_image_twice_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "0_hair.png", HAIR)
    save(tmp_path / "00_hair.png", HAIR)
    assert "class 'hair' of image 0 too" in message_of(tmp_path)


def test_masks_and_files_of_classes_in_one_folder_are_ambiguous(tmp_path: Path) -> None:
    save(tmp_path / "0_hair.png", HAIR)
    save(tmp_path / "0.png", LABELS)
    message = message_of(tmp_path)
    assert "masks (0.png)" in message and "binary (0_hair.png)" in message
    assert load(tmp_path, format="binary").names == ("background", "hair")
    np.testing.assert_array_equal(load(tmp_path, format="masks").masks[0], LABELS)


# --- a file of classes ---


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "no tables [[classes]]"),
        ("[[classes]]\nname = 'a'\nfrom = ['b']", "unknown key 'from'"),  # that is a label map's
        ("[[classes]]\nname = 3", "name is 3"),
        ("name = 'a'", "unknown key 'name'"),
    ],
)
def test_a_wrong_file_of_classes_is_named(tmp_path: Path, text: str, part: str) -> None:
    save(tmp_path / "masks" / "0.png", LABELS)
    path = tmp_path / "classes.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load(tmp_path / "masks", classes_file=path)
    assert str(path) in str(caught.value) and part in str(caught.value)


def test_masks_take_their_names_from_the_classes_and_stay_within_them(tmp_path: Path) -> None:
    save(tmp_path / "masks" / "0.png", LABELS)
    path = tmp_path / "classes.toml"
    path.write_text("".join(f'[[classes]]\nname = "{entry.name}"\n' for entry in CLASSES))
    loaded = load(tmp_path / "masks", classes_file=path)
    assert loaded.names == ("background", "hair", "skin") and loaded.palette is None
    path.write_text('[[classes]]\nname = "background"\n[[classes]]\nname = "hair"\n')
    assert "add the class to " + str(path) in message_of(tmp_path / "masks", classes_file=path)
    path.write_text('[[classes]]\nname = "background"\n')  # as it is before it is filled in: no list yet
    assert load(tmp_path / "masks", classes_file=path).names is None


def test_the_divergence_beside_a_mask_of_the_released_code_is_no_mask(tmp_path: Path) -> None:
    for number in (0, 12):
        save(tmp_path / f"{number}.png", np.zeros((*GRID, 3)))
        save(tmp_path / f"label_{number}.png", (LABELS + number) % 3)
        np.save(tmp_path / f"{number}.npy", np.random.default_rng(0).random(GRID))
    np.testing.assert_array_equal(load(tmp_path).masks, [LABELS, (LABELS + 12) % 3])


def test_classes_toml_beside_masks_names_them(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", LABELS)
    first = '[[classes]]\nname = "ground"\ncolor = "#ffffff"\n'
    (tmp_path / "classes.toml").write_text(first)  # as `dgan sample` begins it
    assert load(tmp_path).names is None
    (tmp_path / "classes.toml").write_text(first + '[[classes]]\nname = "a"\n[[classes]]\nname = "b"\n')
    assert load(tmp_path).names == ("ground", "a", "b")
