"""Annotated photographs: which annotation is of which picture, and what is read of both."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.photographs import (
    CLASSES,
    FORMATS,
    PICTURES,
    SIZE,
    Labels,
    png,
    random_labels,
    save_arrays,
    save_coco,
    save_grey,
    stem,
    write_pictures,
)

from fstore.meta import ClassInfo
from pipeline.errors import RunError, UsageError
from pipeline.inputs.annotations.raster.fitting import stretch_nearest
from pipeline.inputs.numbers import names_say
from pipeline.inputs.photographs import IGNORED, AnnotatedPhotographs, open_photographs, open_pictures
from pipeline.inputs.picture_names import PictureNames


def opened(images: Path, annotations: Path | None, label_map: Path | None = None) -> AnnotatedPhotographs:
    return open_photographs(images, annotations, classes=CLASSES, ignore=None, label_map=label_map)


def refusal(images: Path, annotations: Path | None, label_map: Path | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        opened(images, annotations, label_map)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    return message


def assert_labels(found: AnnotatedPhotographs, labels: Labels) -> None:
    assert [path.name for path in found.paths] == sorted(labels)
    for place, path in enumerate(found.paths):
        assert np.array_equal(found.read_labels(place, SIZE), labels[path.name]), path.name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "given").mkdir()
    return tmp_path / "given"


@pytest.mark.parametrize("save", FORMATS, ids=lambda save: save.__name__)
def test_annotations_of_every_format_belong_to_the_picture_of_their_name(
    tmp_path: Path, folder: Path, save: Callable[[Path, Labels], Path]
) -> None:
    labels = random_labels()
    found = opened(write_pictures(tmp_path / "photos"), save(folder, labels))
    assert_labels(found, labels)
    assert found.record["paired_by"] == "name"


@pytest.mark.parametrize(
    ("pictures", "masks", "paired_by"),
    [
        (("a.jpg", "b.jpg"), ("a.npy", "b.npy"), "name"),  # the release's test sets
        (("a.png", "b.png"), ("a.npy", "b.npy"), "name"),
        (("a.jpg", "b.jpg"), ("a.png", "b.png"), "name"),  # labelme2voc's
        (("a.png", "b.png"), ("a_mask.png", "b_mask.png"), "name"),
        (("x_1.png", "x_2.png"), ("mask_x_1.png", "mask_x_2.png"), "name"),
        (
            ("x_jpg.rf.0f1a.jpg", "x_jpg.rf.9b2c.jpg"),
            ("x_jpg.rf.0f1a_mask.png", "x_jpg.rf.9b2c_mask.png"),
            "name",
        ),
        (("image_0.png", "image_1.png"), ("image_mask0.npy", "image_mask1.npy"), "number"),
        (("image_0.png", "image_1.png"), ("image_mask0.png", "image_mask1.png"), "number"),
        (("a.jpg", "b.jpg"), ("first.npy", "second.npy"), "order"),
    ],
)
def test_pictures_and_masks_may_lie_in_one_folder(
    folder: Path, pictures: tuple[str, ...], masks: tuple[str, ...], paired_by: str
) -> None:
    write_pictures(folder, pictures)
    labels = random_labels(pictures)
    for mask, one in zip(masks, labels.values(), strict=True):
        if mask.endswith(".npy"):
            np.save(folder / mask, one)
        else:
            (folder / mask).write_bytes(png(one))
    found = opened(folder, None)
    assert_labels(found, labels)
    assert found.record["paired_by"] == paired_by
    assert ("by the order of their names" in " ".join(found.notes)) == (paired_by == "order")


def test_cityscapes_names_are_told_apart(tmp_path: Path, folder: Path) -> None:
    names = ("aachen_000000_000019_leftImg8bit.png", "aachen_000001_000019_leftImg8bit.png")
    labels = random_labels(names)
    for name, one in labels.items():
        (folder / name.replace("leftImg8bit", "gtFine_labelIds")).write_bytes(png(one))
    assert_labels(opened(write_pictures(tmp_path / "photos", names), folder), labels)


def test_what_has_no_partner_is_counted_in_a_note(tmp_path: Path, folder: Path) -> None:
    labels = random_labels(("a.jpg", "b.jpg", "c.jpg"))
    save_grey(folder, labels)
    images = write_pictures(tmp_path / "photos", ("a.jpg", "b.jpg", "d.jpg"))
    found = opened(images, folder)
    assert [path.name for path in found.paths] == ["a.jpg", "b.jpg"]
    assert found.notes == (
        f"{images}: 1 picture of 3 without an annotation, left out: d.jpg",
        f"{folder}: 1 annotation without a picture in {images}, left out: c.png",
    )


def test_entries_of_a_coco_file_without_a_picture_are_counted_too(tmp_path: Path, folder: Path) -> None:
    labels = random_labels(("a.jpg", "a_2.jpg", "b.jpg"))
    path = save_coco(folder, labels)
    found = opened(write_pictures(tmp_path / "photos", ("a.jpg",)), path)
    assert [note for note in found.notes if "2 annotations without a picture" in note]


def test_nothing_paired_ends_in_a_line_with_both_names(tmp_path: Path, folder: Path) -> None:
    save_grey(folder, random_labels(("x.jpg", "y.jpg")))
    message = refusal(write_pictures(tmp_path / "photos", ("a.jpg",)), folder)
    assert "a.jpg" in message and "x.png, y.png" in message


def test_pictures_alone_are_not_their_own_annotations(folder: Path) -> None:
    assert "has an annotation" in refusal(write_pictures(folder, ("image_0.png", "image_1.png")), None)


def test_two_pictures_of_one_name_are_refused(tmp_path: Path, folder: Path) -> None:
    images = write_pictures(tmp_path / "photos", ("a.jpg", "a.png"))
    save_grey(folder, random_labels(("a.jpg",)))
    assert "a.jpg in the same folder has the same name" in refusal(images, folder)


def test_an_annotation_of_another_shape_than_its_picture_names_both(tmp_path: Path, folder: Path) -> None:
    images = write_pictures(tmp_path / "photos", ("a.jpg", "b.jpg"))
    save_grey(folder, {"a.jpg": np.zeros(SIZE, np.uint8), "b.jpg": np.zeros((32, 32), np.uint8)})
    message = refusal(images, folder)
    assert "b.png: is 32 x 32" in message and "b.jpg 24 x 32" in message


def test_an_annotation_of_half_the_pictures_size_is_taken(tmp_path: Path, folder: Path) -> None:
    labels = random_labels(("a.jpg",))
    save_grey(folder, {"a.jpg": labels["a.jpg"][::2, ::2]})
    assert_labels(opened(write_pictures(tmp_path / "photos", ("a.jpg",)), folder), labels)


def test_names_are_matched_by_name_and_unknown_ones_refused(tmp_path: Path, folder: Path) -> None:
    images = write_pictures(tmp_path / "photos", ("a.jpg",))
    shape = {"label": "Wheel", "points": [[0, 0], [32, 0], [32, 24], [0, 24]]}
    document = {"shapes": [shape], "imageHeight": SIZE[0], "imageWidth": SIZE[1]}
    (folder / "a.json").write_text(json.dumps(document))
    assert (opened(images, folder).read_labels(0, SIZE) == 3).all()
    (folder / "a.json").write_text(json.dumps(document | {"shapes": [shape | {"label": "wheels"}]}))
    message = refusal(images, folder)
    assert "the classes of the segmenter" in message and "nearest is wheel" in message


def test_a_label_map_renames_merges_and_ignores(tmp_path: Path, folder: Path) -> None:
    labels = {"a.jpg": np.tile(np.array([0, 5, 6, 255], np.uint8), (24, 8))}
    save_grey(folder, labels)
    images = write_pictures(tmp_path / "photos", ("a.jpg",))
    assert "label 5" in refusal(images, folder) and "--label-map" in refusal(images, folder)
    table = tmp_path / "map.toml"
    table.write_text(
        'drop = [255]\ndrop_to = "ignore"\n[[classes]]\nname = "background"\n'
        '[[classes]]\nname = "glass"\nfrom = [5, 6]\n'
    )
    assert np.unique(opened(images, folder, table).read_labels(0, SIZE)).tolist() == [IGNORED, 0, 2]


TWICE = tuple(ClassInfo(i, name, "#000000") for i, name in enumerate(("background", "a", "b", "b")))


def test_masks_of_two_classes_of_one_name_go_by_their_places(tmp_path: Path, folder: Path) -> None:
    """A store that an older version has made may hold such classes."""
    save_grey(folder, {"a.jpg": np.tile(np.arange(4, dtype=np.uint8), (SIZE[0], SIZE[1] // 4))})
    images = write_pictures(tmp_path / "photos", ("a.jpg",))
    found = open_photographs(images, folder, classes=TWICE, ignore=None, label_map=None)
    assert found.read_labels(0, SIZE)[0, :4].tolist() == [0, 1, 2, 3]


def test_a_name_of_two_classes_is_refused(tmp_path: Path, folder: Path) -> None:
    images = write_pictures(tmp_path / "photos", ("a.jpg",))
    shape = {"label": "b", "points": [[0, 0], [32, 0], [32, 24], [0, 24]]}
    document = {"shapes": [shape], "imageHeight": SIZE[0], "imageWidth": SIZE[1]}
    (folder / "a.json").write_text(json.dumps(document))
    with pytest.raises(UsageError, match=r"'b' is the name of 2 classes .* which is meant is not clear"):
        open_photographs(images, folder, classes=TWICE, ignore=None, label_map=None)
    table = tmp_path / "map.toml"
    table.write_text('[[classes]]\nname = "background"\n[[classes]]\nname = "b"\n')
    with pytest.raises(UsageError, match=r"map.toml: makes class 'b', and .* has 2 classes of that name"):
        open_photographs(images, folder, classes=TWICE, ignore=None, label_map=table)


def test_labels_of_one_picture_alone_mean_what_they_mean_among_all(tmp_path: Path, folder: Path) -> None:
    """0 and 255 alone are two classes only where all masks are so."""
    save_grey(folder, {"a.jpg": np.full(SIZE, 255, np.uint8), "b.jpg": np.zeros(SIZE, np.uint8)})
    images = write_pictures(tmp_path / "photos", ("a.jpg", "b.jpg"))
    found = open_photographs(images, folder, classes=CLASSES[:2], ignore=None, label_map=None)
    assert [found.read_labels(place, SIZE).max() for place in (0, 1)] == [1, 0]


def test_an_annotation_that_changes_meanwhile_is_told(tmp_path: Path, folder: Path) -> None:
    labels = {"a.jpg": np.zeros(SIZE, np.uint8)}
    found = opened(write_pictures(tmp_path / "photos", ("a.jpg",)), save_arrays(folder, labels))
    np.save(folder / "a.npy", np.full(SIZE, 2, np.uint8))
    with pytest.raises(RunError, match="has changed"):
        found.read_labels(0, SIZE)


def test_the_hash_of_the_labels_follows_from_the_labels_alone(tmp_path: Path, folder: Path) -> None:
    images, labels = write_pictures(tmp_path / "photos"), random_labels()
    before = opened(images, save_arrays(folder, labels)).record["sha256"]
    (tmp_path / "other").mkdir()
    assert opened(images, save_grey(tmp_path / "other", labels)).record["sha256"] == before
    labels[PICTURES[0]][0, 0] += 1
    assert opened(images, save_arrays(folder, labels)).record["sha256"] != before


def test_pictures_are_read_as_they_are_shown(folder: Path) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(pixels).save(folder / "turned.png", exif=turned)
    alpha = np.concatenate([pixels, np.full((2, 4, 1), 7, np.uint8)], axis=2)
    Image.fromarray(alpha).save(folder / "alpha.png")
    Image.fromarray(pixels[..., 0]).save(folder / "grey.bmp")
    Image.fromarray(pixels).save(folder / "plain.tiff")
    paths, read = open_pictures(folder)
    found = {path.name: read(path) for path in paths}
    assert np.array_equal(found["turned.png"], np.rot90(pixels, -1))
    assert np.array_equal(found["alpha.png"], pixels)
    assert np.array_equal(found["grey.bmp"], pixels[..., :1].repeat(3, axis=2))
    assert np.array_equal(found["plain.tiff"], pixels)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jpg", b"\xff\xd8\xff", "cannot be read as a picture"),
        ("a.png", png(np.zeros((4, 4), np.uint16)), "more than 8 bits"),
        ("a.txt", b"", "holds no picture"),
    ],
)
def test_a_picture_that_cannot_be_read_ends_in_one_line(
    folder: Path, name: str, content: bytes, said: str
) -> None:
    (folder / name).write_bytes(content)

    def read_first() -> None:
        paths, read = open_pictures(folder)
        read(paths[0])

    with pytest.raises(UsageError, match=said) as caught:
        read_first()
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("given", ["nowhere", "file"])
def test_a_place_that_is_no_folder_is_refused(tmp_path: Path, given: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="expected a folder of pictures"):
        open_pictures(tmp_path / given)


words = st.text("ab0_- .é", min_size=1, max_size=6).filter(lambda text: text.strip(". ") == text)


@given(st.lists(words, min_size=1, max_size=6, unique=True), st.sampled_from(["", "_mask", "-left eye"]))
def test_a_mask_named_after_a_picture_is_that_pictures(stems: list[str], after: str) -> None:
    """Whatever the names: unless another picture's name is what the mask's begins with, too."""
    rule = PictureNames([f"{text}.jpg" for text in stems])
    for place, text in enumerate(stems):
        found = rule.split(f"{text}{after}.png")
        assert found is not None
        assert found.number == place or stems[found.number] == text + after
        assert rule.listed(f"{text}.jpg") == place


def test_names_count_only_inside_their_block() -> None:
    from pipeline.inputs.numbers import image_number, listed_number

    with names_say(PictureNames(["x.jpg", "image_7.jpg"])):
        assert image_number("image_7.png") == 1 and image_number("y.png") is None
        assert [listed_number(name) for name in ("y.jpg", "z.jpg", "y.jpg", "x.jpg")] == [2, 3, 2, 0]
    assert image_number("image_7.png") == 7 and listed_number("y.png") is None


@settings(max_examples=200)
@given(st.integers(1, 700), st.integers(1, 300), st.sampled_from([np.uint8, np.int32, np.int64]))
def test_labels_are_resized_to_the_nearest_as_pillow_does(old: int, new: int, dtype: type) -> None:
    """``image.resize(size, NEAREST)`` of the release, also where a centre lies on a border."""
    labels = (np.arange(old) % 251)[:, None].astype(dtype)
    wanted = Image.fromarray(labels.astype(np.uint8)).resize((1, new), Image.Resampling.NEAREST)
    found = stretch_nearest(labels, new, 1)
    assert found.dtype == dtype and np.array_equal(found, np.asarray(wanted))


def test_a_centre_on_a_border_goes_where_pillow_puts_it() -> None:
    labels = np.arange(924, dtype=np.int32)[:, None]
    wanted = np.asarray(Image.fromarray(labels).resize((1, 46), Image.Resampling.NEAREST))
    assert np.array_equal(stretch_nearest(labels, 46, 1), wanted)
    assert stem("a.b.jpg") == "a.b"
