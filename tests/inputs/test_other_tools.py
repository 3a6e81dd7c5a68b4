"""Folders as other programs export them: taken with every label, or refused by name; nothing is misread."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import UsageError
from pipeline.inputs.annotations.formats.detect import open_source
from pipeline.inputs.annotations.load import Annotations, load_annotations, open_annotations
from pipeline.settings.classes import read_classes_file
from pipeline.settings.schema import AnnotationsConfig, ClassConfig

GRID = (8, 8)
NUM = 3
LABELS = np.random.default_rng(0).integers(0, 4, (NUM, *GRID)).astype(np.uint8)
COLORS = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]], np.uint8)
VOID = (224, 224, 192)
NAMES = ("background", "hair", "face", "nose")
CLASSES = tuple(
    ClassConfig(name, "#{:02x}{:02x}{:02x}".format(*color)) for name, color in zip(NAMES, COLORS, strict=True)
)
LABELMAP = "# label:color_rgb:parts:actions\n" + "".join(
    f"{name}:{r},{g},{b}::\n" for name, (r, g, b) in zip(NAMES, COLORS.tolist(), strict=True)
)
PICTURE = np.random.default_rng(1).integers(0, 256, (*GRID, 3)).astype(np.uint8)


def load(folder: Path, **options: Any) -> Annotations:
    config = AnnotationsConfig(folder=folder, **{"min_pixels": 0, **options})
    source = open_annotations(config)
    assert source.numbers == tuple(range(NUM))
    return load_annotations(source, source.numbers, grid=GRID, config=config)


def message_of(folder: Path, **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        load(folder, **options)
    message = str(caught.value)
    assert "\n" not in message and str(folder) in message
    return message


def save(path: Path, pixels: Any, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels, np.uint8))
    image.save(path, **options)


def palette(mask: np.ndarray[Any, Any], colors: np.ndarray[Any, Any] = COLORS) -> Image.Image:
    image = Image.fromarray(mask).convert("P")
    image.putdata(mask.ravel().tolist())
    image.putpalette(colors.ravel().tolist() + [0] * (768 - colors.size))
    return image


def with_last_row(mask: np.ndarray[Any, Any], value: Any) -> np.ndarray[Any, Any]:
    mask = mask.copy()
    mask[-1] = value
    return mask


VOID_ROWS = np.stack([with_last_row(mask, 255) for mask in LABELS])


# --- Pascal VOC: CVAT, Datumaro, labelme2voc ---


@pytest.mark.parametrize("kind", ["palette", "rgb", "grey", "three channels"])
@pytest.mark.parametrize("inner", ["", "SegmentationClass"])
@pytest.mark.parametrize("name", ["image_{}", "{}", "seed{:04d}"])
def test_a_voc_layout_gives_names_colours_and_labels(
    tmp_path: Path, kind: str, inner: str, name: str
) -> None:
    (tmp_path / "labelmap.txt").write_text(LABELMAP)
    for i, mask in enumerate(LABELS):
        images = {"palette": palette(mask), "rgb": COLORS[mask], "grey": mask}
        image = images.get(kind, np.dstack([mask] * 3))
        for folder in ("SegmentationClass", "SegmentationObject"):
            save(tmp_path / folder / f"{name.format(i)}.png", image)
        save(tmp_path / "JPEGImages" / f"{name.format(i)}.jpg", PICTURE)
    loaded = load(tmp_path / inner)
    np.testing.assert_array_equal(loaded.masks, LABELS)
    assert (loaded.names, loaded.num_classes, loaded.ignore) == (NAMES, 4, None)
    if kind in ("palette", "rgb"):
        assert loaded.palette == tuple(entry.color for entry in CLASSES)
    assert any("labelmap.txt: background, hair, face, nose" in note for note in loaded.notes)
    assert any("SegmentationObject: not read" in note for note in loaded.notes)


@pytest.mark.parametrize("folder", ["SegmentationClassNpy", "SegmentationClass"])
def test_labelme2voc_arrays_are_read_and_minus_one_is_ignored(tmp_path: Path, folder: str) -> None:
    (tmp_path / "class_names.txt").write_text("_background_\nhair\nface\nnose\n")
    (tmp_path / folder).mkdir()
    for i, mask in enumerate(LABELS):
        np.save(tmp_path / folder / f"image_{i}.npy", with_last_row(mask.astype(np.int32), -1))
        save(tmp_path / "SegmentationClassVisualization" / f"image_{i}.jpg", PICTURE)
    loaded = load(tmp_path)
    np.testing.assert_array_equal(loaded.masks, VOID_ROWS)
    assert (loaded.names, loaded.ignore) == (NAMES, 255)
    assert "are ignored" in loaded.notes[-1] and "stored as label 255" in loaded.notes[-1]


@pytest.mark.parametrize("options", [{}, {"classes": CLASSES}])
def test_what_voc_leaves_without_a_label_is_ignored(tmp_path: Path, options: dict[str, Any]) -> None:
    """Whether the list names it or not, and wherever the background stands in the list."""
    lines = LABELMAP.splitlines(keepends=True)
    for more in ("ignored:224,224,192::\n", ""):
        (tmp_path / "labelmap.txt").write_text("".join([lines[0], *lines[2:], lines[1], more]))
        for i, mask in enumerate(LABELS):
            save(tmp_path / "SegmentationClass" / f"{i}.png", with_last_row(COLORS[mask], VOID))
        loaded = load(tmp_path, **options)
        np.testing.assert_array_equal(loaded.masks, VOID_ROWS)
        assert (loaded.names, loaded.ignore) == (NAMES, 255)
        assert load(tmp_path, **options, ignore=9).masks[0, -1].tolist() == [9] * 8


@pytest.mark.parametrize("options", [{}, {"classes": CLASSES}])
def test_voc_palettes_without_a_list_go_by_their_indices(tmp_path: Path, options: dict[str, Any]) -> None:
    for i, mask in enumerate(VOID_ROWS):
        save(tmp_path / "SegmentationClass" / f"{i}.png", palette(mask))
    loaded = load(tmp_path, **options)
    np.testing.assert_array_equal(loaded.masks, VOID_ROWS)
    assert (loaded.num_classes, loaded.ignore) == (4, 255)


def test_voc_colours_without_a_list_are_the_configured_classes(tmp_path: Path) -> None:
    for i, mask in enumerate(LABELS):
        save(tmp_path / "SegmentationClass" / f"{i}.png", with_last_row(COLORS[mask], VOID))
    np.testing.assert_array_equal(load(tmp_path, classes=CLASSES).masks, VOID_ROWS)
    assert "pixels are colours, and no class has one" in message_of(tmp_path)


def test_configured_classes_may_have_other_names_for_the_colours(tmp_path: Path) -> None:
    (tmp_path / "labelmap.txt").write_text(LABELMAP)
    for i, mask in enumerate(LABELS):
        save(tmp_path / "SegmentationClass" / f"{i}.png", COLORS[mask])
    order = (0, 3, 1, 2)
    renamed = tuple(ClassConfig(f"part {i}", CLASSES[i].color) for i in order)
    np.testing.assert_array_equal(load(tmp_path, classes=renamed).masks, np.array([0, 2, 3, 1])[LABELS])


def test_a_voc_colour_that_the_list_lacks_is_named(tmp_path: Path) -> None:
    (tmp_path / "labelmap.txt").write_text("background:0,0,0::\nhair:128,0,0::\n")
    for i, mask in enumerate(LABELS):
        save(tmp_path / "SegmentationClass" / f"{i}.png", COLORS[mask])
    message = message_of(tmp_path)
    assert "'#008000'" in message and "'#808000'" in message and "labelmap.txt" in message


def test_a_voc_value_that_the_list_lacks_is_named(tmp_path: Path) -> None:
    (tmp_path / "class_names.txt").write_text("_background_\nhair\nface\n")
    for i, mask in enumerate(LABELS):
        save(tmp_path / "SegmentationClass" / f"{i}.png", palette(mask))
    assert "label 3" in message_of(tmp_path) and "class_names.txt" in message_of(tmp_path)


# --- one folder of whole masks ---


@pytest.mark.parametrize(
    "name",
    [
        *("{}_mask.png", "image_{}_mask.png", "{}_label.png", "{}-seg.png", "image_{}_segmentation.png"),
        *("seed{:04d}.png", "seed{:04d}_labels.png", "image_{}.png", "{}.npy", "image_{}.npy", "mask_{}.png"),
        *("{}_labelIds.png", "image_{}_gt.png", "a1b2-image_{}_mask.png", "image_{}.png.png", "face_{}.png"),
    ],
)
@pytest.mark.parametrize("format", ["auto", "masks"])
def test_whole_masks_are_read_by_the_number_in_any_usual_name(tmp_path: Path, name: str, format: str) -> None:
    for i, mask in enumerate(LABELS):
        if name.endswith("npy"):
            np.save(tmp_path / name.format(i), mask)
        else:
            save(tmp_path / name.format(i), mask)
    np.testing.assert_array_equal(load(tmp_path, format=format).masks, LABELS)


@pytest.mark.parametrize("name", ["{}_mask.png", "image_{}_mask.png", "image_{}.png", "seed{:04d}.png"])
def test_colour_masks_are_read_by_the_number_in_any_usual_name(tmp_path: Path, name: str) -> None:
    for i, mask in enumerate(LABELS):
        save(tmp_path / name.format(i), COLORS[mask])
    for format in ("auto", "color"):
        np.testing.assert_array_equal(load(tmp_path, format=format, classes=CLASSES).masks, LABELS)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize(
    ("picture", "mask"),
    [
        ("image_{}.png", "image_{}_mask.png"),
        ("image_{}.png", "image_{}.npy"),
        ("image_{}.png", "{}.png"),
        ("seed{:04d}.png", "seed{:04d}_label.png"),
    ],
)
def test_a_mask_beside_its_picture_is_told_by_names(
    tmp_path: Path, picture: str, mask: str, grey: bool
) -> None:
    for i, labels in enumerate(LABELS):
        save(tmp_path / picture.format(i), PICTURE[..., 0] if grey else PICTURE)
        if mask.endswith("npy"):
            np.save(tmp_path / mask.format(i), labels)
        else:
            save(tmp_path / mask.format(i), labels)
    save(tmp_path / picture.format(NUM), PICTURE[..., 0] if grey else PICTURE)  # is not annotated
    np.testing.assert_array_equal(load(tmp_path).masks, LABELS)


@pytest.mark.parametrize(
    "names",
    [("0.png", "0_mask.png"), ("image_0.png", "image_0 (1).png"), ("0_mask.png", "image_0_label.png")],
)
def test_two_masks_of_one_image_are_refused_by_name(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        save(tmp_path / name, LABELS[0])
    assert all(name in message_of(tmp_path) for name in names)


def test_roboflow_masks_have_the_names_of_their_list(tmp_path: Path) -> None:
    for i, mask in enumerate(LABELS):
        save(tmp_path / f"image_{i}_png.rf.0a{i}f9_mask.png", mask)
        save(tmp_path / f"image_{i}_png.rf.0a{i}f9.jpg", PICTURE)
    (tmp_path / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, hair\n2, face\n3, nose\n")
    loaded = load(tmp_path)
    np.testing.assert_array_equal(loaded.masks, LABELS)
    assert loaded.names == NAMES


def test_overlays_beside_masks_are_left_out_with_a_line(tmp_path: Path) -> None:
    for i, mask in enumerate(LABELS):
        save(tmp_path / f"{i}.png", mask)
        save(tmp_path / f"{i}_overlay.png", PICTURE)
    loaded = load(tmp_path)
    np.testing.assert_array_equal(loaded.masks, LABELS)
    assert loaded.notes == (f"{tmp_path}: not read as masks: 0_overlay.png, 1_overlay.png, 2_overlay.png",)


def test_masks_without_a_number_are_told(tmp_path: Path) -> None:
    for i, mask in enumerate(LABELS):
        save(tmp_path / f"{i}.png", mask)
    save(tmp_path / "last.png", LABELS[0])
    (note,) = load(tmp_path).notes
    assert "no image's number: last.png" in note


def test_a_palette_in_another_order_than_the_classes_is_refused(tmp_path: Path) -> None:
    """GIMP and Photoshop number the colours of an indexed image as they like."""
    order = np.array([2, 0, 3, 1], np.uint8)
    for i, mask in enumerate(LABELS):
        save(tmp_path / f"{i}.png", palette(order[mask], COLORS[np.argsort(order)]))
    message = message_of(tmp_path, classes=CLASSES)
    assert "its palette shows label 0 ('background') as #800000" in message and "color" in message
    np.testing.assert_array_equal(load(tmp_path, classes=CLASSES, format="color").masks, LABELS)
    (note,) = load(tmp_path).notes
    assert "shows label 2 in black" in note and "--annotation-format color" in note


def test_a_palette_in_another_order_than_the_list_beside_it_is_refused(tmp_path: Path) -> None:
    order = np.array([2, 0, 3, 1], np.uint8)
    (tmp_path / "labelmap.txt").write_text(LABELMAP)
    for i, mask in enumerate(LABELS):
        save(tmp_path / f"{i}.png", palette(order[mask], COLORS[np.argsort(order)]))
    assert "its palette shows label 0 ('background') as #800000" in message_of(tmp_path)
    np.testing.assert_array_equal(load(tmp_path, format="color").masks, LABELS)


def test_a_voc_layout_one_folder_down_is_pointed_out(tmp_path: Path) -> None:
    save(tmp_path / "task_1" / "SegmentationClass" / "0.png", LABELS[0])
    assert "if the masks are in task_1, pass that folder" in message_of(tmp_path)


def test_folders_of_masks_that_are_no_classes_are_told(tmp_path: Path) -> None:
    for i, mask in enumerate(LABELS):
        save(tmp_path / "hair" / f"{i}.png", 255 * (mask == 1))
        save(tmp_path / "nose" / f"{i}.png", 255 * (mask == 3))
        save(tmp_path / "masks" / f"{i}.png", mask)
        save(tmp_path / "images" / f"{i}.png", PICTURE)
    assert load(tmp_path).notes == (
        f"{tmp_path}: its folders are taken as classes: hair, nose",
        f"{tmp_path}: folders of masks that are no classes are not read: masks",
    )


@pytest.mark.parametrize("suffix", [".mat", ".tif", ".psd", ".gif"])
def test_masks_of_other_formats_are_named(tmp_path: Path, suffix: str) -> None:
    for i, mask in enumerate(LABELS):
        save(tmp_path / f"{i}.png", mask)
    (tmp_path / f"{NUM}{suffix}").write_bytes(b"MATLAB 5.0 MAT-file")
    (note,) = load(tmp_path).notes
    assert f"not read: {NUM}{suffix}; expected masks as PNG or .npy" in note
    for i in range(NUM):
        (tmp_path / f"{i}.png").unlink()
    assert f"not read: {NUM}{suffix}" in message_of(tmp_path)


def test_supervisely_is_refused_and_its_masks_are_read(tmp_path: Path) -> None:
    for i, mask in enumerate(LABELS):
        save(tmp_path / "masks_machine" / f"image_{i}.png", mask)
        save(tmp_path / "masks_human" / f"image_{i}.png", PICTURE)
        save(tmp_path / "ann" / f"image_{i}.png", mask)
        document = {"size": {"height": 8, "width": 8}, "objects": []}
        (tmp_path / "ann" / f"image_{i}.png.json").write_text(json.dumps(document))
    assert "in ann, masks_machine, pass that folder" in message_of(tmp_path)
    np.testing.assert_array_equal(load(tmp_path / "masks_machine").masks, LABELS)
    for i in range(NUM):
        (tmp_path / "ann" / f"image_{i}.png").unlink()
    assert "image_0.png.json is Supervisely's JSON" in message_of(tmp_path / "ann")


@pytest.mark.parametrize(
    ("document", "program"),
    [
        ([{"id": 1, "annotations": [], "data": {}}], "Label Studio's"),
        ({"image_0.png12": {"filename": "image_0.png", "regions": []}}, "VGG Image Annotator"),
        ({"_via_img_metadata": {}, "_via_settings": {}}, "VGG Image Annotator"),
        ({"type": "FeatureCollection", "features": []}, "GeoJSON"),
        ([{"data_row": {}, "projects": {}}], "Labelbox's"),
        ([{"image": "image_0.png", "annotations": []}], "CreateML's"),
    ],
)
def test_json_of_programs_that_is_not_read_is_named(tmp_path: Path, document: Any, program: str) -> None:
    (tmp_path / "export.json").write_text(json.dumps(document))
    for location in (tmp_path, tmp_path / "export.json"):
        assert program in message_of(location) and "export COCO" in message_of(location)


def test_panoptic_coco_without_its_pngs_is_named(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "image_0.png", "height": 8, "width": 8}]
    entry = {"image_id": 1, "file_name": "image_0.png", "segments_info": []}
    document = {"images": images, "categories": [{"id": 1, "name": "hair"}], "annotations": [entry]}
    (tmp_path / "panoptic.json").write_text(json.dumps(document))
    assert "the PNGs of its segments are not found" in message_of(tmp_path)


def test_label_studio_masks_are_refused_as_their_numbers_are_of_tasks(tmp_path: Path) -> None:
    for i, mask in enumerate(LABELS):
        save(tmp_path / f"task-{i}-annotation-{i}-by-1-tag-hair-0.png", 255 * (mask == 1))
    assert "is of Label Studio, which numbers tasks" in message_of(tmp_path)


def test_cityscapes_is_not_taken_for_classes(tmp_path: Path) -> None:
    for i, mask in enumerate(LABELS):
        for kind in ("labelIds", "instanceIds"):
            save(tmp_path / f"berlin_000000_{i:06d}_gtFine_{kind}.png", mask + 7)
    assert "several formats" in message_of(tmp_path)


def test_names_without_numbers_are_told(tmp_path: Path) -> None:
    save(tmp_path / "c4f0a9b.png", LABELS[0])
    assert "no name has the number of an image" in message_of(tmp_path)


# --- one file a class ---


@pytest.mark.parametrize(
    "name",
    [
        *("{}_{}.png", "image_{}_{}.png", "seed{:04d}-{}.png", "{}_{}_mask.png", "image_mask{}_{}.png"),
        *("{}/{}.png", "image_{}/{}.png", "seed{:04d}/{}.png"),
    ],
)
def test_the_class_is_what_stands_behind_the_number(tmp_path: Path, name: str) -> None:
    for i, mask in enumerate(LABELS):
        for label in range(1, 4):
            save(tmp_path / name.format(i, NAMES[label]), 255 * (mask == label))
    loaded = load(tmp_path, classes=CLASSES)
    np.testing.assert_array_equal(loaded.masks, LABELS)


@pytest.mark.parametrize("name", ["{}_final.png", "hair/{}.png", "image_{}/hair.png"])
def test_the_mask_of_a_class_with_several_values_is_refused(tmp_path: Path, name: str) -> None:
    for i, mask in enumerate(LABELS):
        save(tmp_path / name.format(i), mask)
    message = message_of(tmp_path, format="binary")
    assert "has the values 1, 2, 3; expected the mask of one class" in message
    assert "{i}_mask.png" in message


@pytest.mark.parametrize("kind", ["coloured", "white palette first", "smoothed", "black on transparent"])
def test_the_inside_of_a_class_is_its_one_value_however_it_is_stored(tmp_path: Path, kind: str) -> None:
    inside = LABELS == 1
    for i, mask in enumerate(inside):
        black = np.array([[255, 255, 255], [0, 0, 0]], np.uint8)
        image: Any = {
            "coloured": COLORS[np.uint8(mask)],
            "white palette first": palette(np.uint8(~mask), np.vstack([black, np.ones((254, 3), int)])),
            "smoothed": Image.fromarray(np.uint8(255 * mask)).resize((16, 16), Image.Resampling.BILINEAR),
            "black on transparent": np.dstack([np.zeros((*GRID, 3)), 255 * mask]),
        }[kind]
        save(tmp_path / f"{i}_hair.png", image)
    if kind in ("smoothed", "black on transparent"):
        assert ("smoothed" if kind == "smoothed" else "is black") in message_of(tmp_path)
    else:
        np.testing.assert_array_equal(load(tmp_path).masks, inside)


@pytest.mark.parametrize("name", ["{1}/seed{0:04d}.png", "{0}_{1}.png"])
@pytest.mark.parametrize("overlap", ["later", "earlier"])
def test_the_class_ignore_wins_over_all_and_counts_nowhere(tmp_path: Path, name: str, overlap: str) -> None:
    for i in range(NUM):
        save(tmp_path / name.format(i, "hair"), np.full(GRID, 255))
        save(tmp_path / name.format(i, "nose"), np.zeros(GRID))
        save(tmp_path / name.format(i, "__ignore__"), with_last_row(np.zeros(GRID), 255))
    loaded = load(tmp_path, overlap=overlap)
    assert (loaded.names, loaded.ignore) == (("background", "hair", "nose"), 255)
    np.testing.assert_array_equal(loaded.masks[0], with_last_row(np.ones(GRID), 255))
    assert "pixels labelled '__ignore__' are ignored" in loaded.notes[-1]
    assert load(tmp_path, overlap=overlap, ignore=7).masks[0, -1, 0] == 7
    assert "--ignore is 1, which is class 'hair'" in message_of(tmp_path, ignore=1)


def test_index_255_of_a_voc_palette_that_shows_it_black_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "labelmap.txt").write_text(LABELMAP)
    for i, mask in enumerate(LABELS):  # a palette of four colours, filled up with black
        save(tmp_path / "SegmentationClass" / f"{i}.png", palette(with_last_row(mask, 255)))
    loaded = load(tmp_path)
    np.testing.assert_array_equal(loaded.masks == loaded.ignore, VOID_ROWS == 255)


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        ("__ignore__\n_background_\nhair\nface\nnose\n", ("background", "hair", "face", "nose")),
        ("hair\nface\nnose\near\n", None),  # no background: its places are not the masks' values
    ],
)
def test_labelmes_list_beside_masks_counts_if_it_begins_with_the_background(
    tmp_path: Path, listed: str, names: tuple[str, ...] | None
) -> None:
    (tmp_path / "labels.txt").write_text(listed)
    for i, mask in enumerate(LABELS):
        save(tmp_path / f"{i}.png", mask)
    loaded = load(tmp_path)
    assert loaded.names == names
    assert any("labels.txt: not read" in note for note in loaded.notes) == (names is None)


@pytest.mark.parametrize("pattern", ["{i}/{c}_mask.png", "image_{i}/{c}.png", "image_{i}_64x64_{c}.png"])
def test_words_for_masks_and_sizes_are_no_part_of_a_class(tmp_path: Path, pattern: str) -> None:
    for i in range(NUM):
        for value, name in enumerate(NAMES[1:], start=1):
            save(tmp_path / pattern.format(i=i, c=name), np.uint8(255) * (LABELS[i] == value))
    np.testing.assert_array_equal(load(tmp_path, classes=CLASSES).masks, LABELS)


def test_folders_and_files_of_numbers_alone_are_refused(tmp_path: Path) -> None:
    for name in ("1", "2"):  # classes 1 and 2 of images 0 and 1, or images 1 and 2 with classes 0 and 1
        for i in range(2):
            save(tmp_path / name / f"{i}.png", np.uint8(255) * (LABELS[i] == int(name)))
    assert "its folder and its name are numbers" in message_of(tmp_path)


def test_a_mask_of_a_size_in_its_name_is_whole(tmp_path: Path) -> None:
    for i, mask in enumerate(LABELS):
        save(tmp_path / f"image_{i}_512x512_mask.png", mask)
    np.testing.assert_array_equal(load(tmp_path).masks, LABELS)


def test_masks_of_instances_are_not_read_as_classes(tmp_path: Path) -> None:
    folder = tmp_path / "SegmentationObject"
    for i, mask in enumerate(LABELS):
        save(folder / f"{i}.png", mask)
    assert "tells instances apart" in message_of(folder)
    assert "pass that folder" not in message_of(tmp_path)
    np.testing.assert_array_equal(load(folder, format="masks").masks, LABELS)


@pytest.mark.parametrize(
    "text", ["0: background\n1: hair\n2: face\n3: nose\n", "0 background\n1 hair\n2 face\n3 nose\n"]
)
def test_a_list_of_values_and_names_gives_the_names(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.txt").write_text(text)
    assert tuple(entry.name for entry in read_classes_file(tmp_path / "c.txt")) == NAMES
    (tmp_path / "c.txt").write_text("")
    with pytest.raises(UsageError, match="lists no class"):
        read_classes_file(tmp_path / "c.txt")


@pytest.mark.parametrize("name", ["cvat.zip", "roboflow.TAR.GZ"])
def test_an_archive_is_to_be_unpacked(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(UsageError) as caught:
        open_source(tmp_path / name, "auto", "later", ())
    assert str(caught.value) == f"{tmp_path / name}: is an archive; unpack it, and name the folder"
