"""Annotated photographs under names, and of formats, that strangers give them."""

from __future__ import annotations

import json
import re
import struct
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.photographs import (
    CLASSES,
    SIZE,
    png,
    random_labels,
    save_arrays,
    save_coco,
    save_grey,
    write_pictures,
)

from pipeline.errors import UsageError
from pipeline.inputs import annotations
from pipeline.inputs.annotations.classes.known import advice
from pipeline.inputs.numbers import natural_order
from pipeline.inputs.photograph_classes import photograph_classes
from pipeline.inputs.photograph_keypoints import open_photograph_keypoints
from pipeline.inputs.photograph_refusals import check_order
from pipeline.inputs.photographs import AnnotatedPhotographs, listed_classes, open_photographs, open_pictures
from pipeline.inputs.pictures.find import picture_size
from pipeline.settings.schema import AnnotationsConfig

NO_SUCH_SETTINGS = ("--task", "classes_file")


def opened(images: Path, annotations: Path | None) -> AnnotatedPhotographs:
    return open_photographs(images, annotations, classes=CLASSES, ignore=None, label_map=None)


def refusal(images: Path, annotations: Path | None) -> str:
    with pytest.raises(UsageError) as caught:
        opened(images, annotations)
    message = str(caught.value)
    assert "\n" not in message and not any(name in message for name in NO_SUCH_SETTINGS)
    return message


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "given").mkdir()
    return tmp_path / "given"


def test_order_as_text_is_refused_where_the_numbers_give_another(tmp_path: Path, folder: Path) -> None:
    images = write_pictures(tmp_path / "photos", ("img_9.jpg", "img_10.jpg", "img_11.jpg"))
    save_arrays(folder, random_labels(("m_109.jpg", "m_110.jpg", "m_111.jpg")))
    message = refusal(images, folder)
    assert "img_10.jpg belongs to m_109.npy" in message and "m_110.npy" in message


def test_order_pairs_where_text_and_numbers_agree(tmp_path: Path, folder: Path) -> None:
    images = write_pictures(tmp_path / "photos", ("img_9.jpg", "img_10.jpg"))
    save_arrays(folder, random_labels(("m_99.jpg", "m_100.jpg")))  # both are out of order alike
    found = opened(images, folder)
    assert found.record["paired_by"] == "order"
    assert "img_10.jpg with m_100.npy to img_9.jpg with m_99.npy" in found.notes[0]


def test_rows_of_keypoints_are_refused_likewise(tmp_path: Path) -> None:
    images = write_pictures(tmp_path / "photos", ("p9a9.jpg", "p9a10.jpg"))
    np.save(tmp_path / "points.npy", np.ones((2, 1, 3)))
    with pytest.raises(UsageError, match=r"row 0 is by .* p9a10.jpg, .* that of p9a9.jpg"):
        open_photograph_keypoints(images, tmp_path / "points.npy", names=("nose",))


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=8, unique=True))
def test_numbers_of_as_many_digits_never_are_refused(numbers: list[int]) -> None:
    names = [f"img_{number:013d}.jpg" for number in numbers]
    check_order(names, [f"m{name}" for name in names], Path("masks"))
    plain = [f"img_{number}" for number in numbers]
    assert sorted(plain, key=natural_order) == [f"img_{number}" for number in sorted(numbers)]


@pytest.mark.parametrize(("of_picture", "of_mask"), [("NFC", "NFD"), ("NFD", "NFC")])
@pytest.mark.parametrize("save", [save_grey, save_coco])
def test_letters_with_marks_pair_however_they_are_written(
    tmp_path: Path, folder: Path, of_picture: str, of_mask: str, save: object
) -> None:
    names = ("Käse.jpg", "Ångström.jpg")
    images = write_pictures(tmp_path / "photos", [unicodedata.normalize(of_picture, name) for name in names])
    labels = random_labels([unicodedata.normalize(of_mask, name) for name in names])
    found = opened(images, save(folder, labels))  # type: ignore[operator]
    assert (len(found), found.record["paired_by"]) == (2, "name")


@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".bmp"])
def test_masks_of_other_formats_are_named(tmp_path: Path, folder: Path, suffix: str) -> None:
    images = write_pictures(tmp_path / "photos", ("a.jpg",))
    Image.fromarray(random_labels(("a.jpg",))["a.jpg"]).save(folder / f"a{suffix}")
    message = refusal(images, folder)
    assert message.startswith(f"{folder}: ") and f"a{suffix}" in message and "as PNG or .npy" in message


def test_masks_of_other_formats_are_named_under_other_names_too(tmp_path: Path, folder: Path) -> None:
    images = write_pictures(tmp_path / "photos", ("a.jpg", "b.jpg"))
    write_pictures(folder, ("q.tif", "r.tif"))
    assert "not read: q.tif, r.tif; expected masks as PNG or .npy" in refusal(images, folder)
    write_pictures(images, ("a.tif",))
    assert "not read: a.tif; expected masks as PNG or .npy" in refusal(images, None)


def test_a_jpeg_mask_beside_its_picture_is_named(folder: Path) -> None:
    write_pictures(folder, ("a.jpg", "a_mask.jpg"))
    assert "a_mask.jpg cannot be masks: JPEG" in refusal(folder, None)


def test_no_message_advises_a_setting_that_there_is_not(tmp_path: Path, folder: Path) -> None:
    images = write_pictures(tmp_path / "photos", ("a.jpg",))
    save_grey(folder, random_labels(("a.jpg",)))
    save_coco(folder, random_labels(("a.jpg",)))
    assert "say which with --annotation-format" in refusal(images, folder)
    with pytest.raises(UsageError, match="say which with --its-flag"):
        photograph_classes(images, folder, AnnotationsConfig(), None, format_flag="--its-flag")
    (folder / "instances.json").unlink()
    colored = Image.fromarray(np.full((*SIZE, 3), (9, 99, 0), np.uint8))
    colored.save(folder / "a.png")
    save_grey(folder, random_labels(("b.jpg",)))
    write_pictures(images, ("b.jpg",))
    refusal(images, folder)
    inner = tmp_path / "SegmentationObject"
    inner.mkdir()
    save_grey(inner, random_labels(("a.jpg",)))
    refusal(images, inner)


def test_every_such_advice_in_the_readers_of_annotations_is_reworded() -> None:
    """Of the sources' text, with literals on several lines joined."""
    folder = Path(annotations.__file__).parent
    sources = [path.read_text() for path in folder.rglob("*.py") if path.name != "known.py"]
    text = re.sub(r'"\s*\n\s*f?"', "", "".join(sources))
    assert "--annotation-format" in text and "--task" in text
    for flag in (None, "--its-flag"):
        reworded = advice(text, flag)
        assert [name for name in ("--annotation-format", "--task") if name in reworded] == []
        assert ("--its-flag" in reworded) == (flag is not None)


@pytest.mark.parametrize("name", ["classes.txt", "labels.txt"])
def test_a_list_of_names_beside_masks_is_read_or_noted(tmp_path: Path, folder: Path, name: str) -> None:
    images = write_pictures(tmp_path / "photos", ("a.jpg",))
    save_grey(folder, random_labels(("a.jpg",)))
    (folder / name).write_text("background\ndoor\nglass\nwheel\n")
    listed = listed_classes(images, folder)
    assert listed is not None and [each.name for each in listed[0]] == [each.name for each in CLASSES]
    assert listed[1] == folder / name
    (folder / name).write_text("door\nglass\nwheel\n")
    (note,) = opened(images, folder).notes
    assert f"{name}: not read" in note and "classes_file" not in note


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("train/a.jpg", "val/a.jpg"), "'train/a.jpg' (id 1) and 'val/a.jpg' (id 2) have one name"),
        (("a.jpg", "a.jpg"), "'a.jpg' (id 1) and 'a.jpg' (id 2) are one picture; keep one entry"),
    ],
)
def test_two_entries_of_one_picture_are_named(
    tmp_path: Path, folder: Path, names: tuple[str, str], said: str
) -> None:
    path = save_coco(folder, random_labels(("a.jpg", "b.jpg")))
    document = json.loads(path.read_text())
    for entry, name in zip(document["images"], names, strict=True):
        entry["file_name"] = name
    path.write_text(json.dumps(document))
    assert said in refusal(write_pictures(tmp_path / "photos", ("a.jpg",)), path)


def test_a_folder_of_folders_names_those_that_hold_pictures(folder: Path) -> None:
    write_pictures(folder / "train", ("a.jpg",))
    (folder / "empty").mkdir()
    with pytest.raises(UsageError, match="folders of pictures: train; pass one of them"):
        open_pictures(folder)


def test_a_name_of_two_lines_leaves_a_note_one_line(tmp_path: Path, folder: Path) -> None:
    images = write_pictures(tmp_path / "photos", ("a.jpg", "b\nc.jpg"))
    save_grey(folder, random_labels(("a.jpg", "d\ne.jpg")))
    notes = opened(images, folder).notes
    assert len(notes) == 2 and "'b\\nc.jpg'" in notes[0] and "'d\\ne.png'" in notes[1]
    assert not any("\n" in note for note in notes)


def huge_png(side: int = 60000) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("which", ["picture", "mask"])
def test_what_is_too_large_is_said_to_be(tmp_path: Path, folder: Path, which: str) -> None:
    images = write_pictures(tmp_path / "photos", ("a.png",))
    save_grey(folder, random_labels(("a.png",)))
    broken = (images if which == "picture" else folder) / "a.png"
    broken.write_bytes(huge_png())
    if which == "mask":
        message = refusal(images, folder)
    else:
        with pytest.raises(UsageError) as caught:
            open_pictures(images)[1](broken)
        message = str(caught.value)
    assert message == f"{broken}: has too many pixels; expected at most 67108864"
    with pytest.raises(UsageError, match="has too many pixels"):
        picture_size(broken)


def test_a_file_that_is_gone_is_said_to_be(tmp_path: Path, folder: Path) -> None:
    images = write_pictures(tmp_path / "photos", ("a.jpg",))
    found = opened(images, save_grey(folder, random_labels(("a.jpg",))))
    (folder / "a.png").unlink()
    (images / "a.jpg").unlink()
    with pytest.raises(UsageError, match=r"a.png: is no longer there"):
        found.read_labels(0, SIZE)
    with pytest.raises(UsageError, match=r"a.jpg: is no longer there"):
        found.read_picture(0)


def test_grey_pictures_are_told_from_masks_by_their_names(folder: Path) -> None:
    labels = random_labels(("a.png", "b.png"))
    for name in ("a.png", "b.png", "c.png"):
        (folder / name).write_bytes(png(np.full(SIZE, 200, np.uint8)))
    save_grey(folder, labels, "_mask")
    found = opened(folder, None)
    assert [path.name for path in found.paths] == ["a.png", "b.png"]
    for place, one in enumerate(labels.values()):
        assert np.array_equal(found.read_labels(place, SIZE), one)
    assert "1 picture of 3 without an annotation, left out: c.png" in found.notes[0]
