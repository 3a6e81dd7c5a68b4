"""Panoptic COCO files as COCO, Detectron2 and others lay them out, and their faults."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.annotations import load_masks, refusal_of

SIZE = (4, 6)
load = partial(load_masks, grid=SIZE)
message_of = partial(refusal_of, grid=SIZE)
COLORS = [[0, 0, 0], [10, 20, 30], [0, 1, 0], [0, 0, 1]]  # of no segment, and of three
IDS = [0, 10 + 256 * 20 + 65536 * 30, 256, 65536]


def coco() -> dict[str, Any]:
    """Two images; the first has two segments of one category, the second pixels of no segment."""
    ids = [
        {"id": IDS[1], "category_id": 7},
        {"id": IDS[2], "category_id": 3},
        {"id": IDS[3], "category_id": 7},
    ]
    return {
        "images": [
            {"id": 5 + i, "file_name": f"image_{i}.jpg", "height": SIZE[0], "width": SIZE[1]} for i in (0, 1)
        ],
        "categories": [
            {"id": 7, "name": "sky", "isthing": 0, "color": [1, 2, 3]},
            {"id": 3, "name": "person", "isthing": 1},
        ],
        "annotations": [
            {"image_id": 5, "file_name": "image_0.png", "segments_info": ids},
            {"image_id": 6, "file_name": "image_1.png", "segments_info": ids[:1]},
        ],
    }


def pixels() -> np.ndarray:
    """(2, H, W): which of the segments a pixel has."""
    found = np.zeros((2, *SIZE), int)
    found[0] = [[1, 1, 2, 2, 3, 3]] * 4
    found[1, :, 3:] = 1
    return found


def save(folder: Path, document: Any, segments: str = "annotations/panoptic_val") -> Path:
    """The JSON in ``annotations``, and the PNGs in the folder ``segments``."""
    (folder / segments).mkdir(parents=True)
    (folder / "annotations").mkdir(exist_ok=True)
    for i, places in enumerate(pixels()):
        Image.fromarray(np.array(COLORS, np.uint8)[places]).save(folder / segments / f"image_{i}.png")
    path = folder / "annotations" / "panoptic_val.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("segments", ["annotations/panoptic_val", "panoptic_val"])
@pytest.mark.parametrize("as_folder", [True, False])
def test_segments_are_their_categories_and_pixels_of_none_are_ignored(
    tmp_path: Path, segments: str, as_folder: bool
) -> None:
    path = save(tmp_path, coco(), segments)
    loaded = load(tmp_path if as_folder else path)
    assert loaded.names == ("background", "person", "sky") and loaded.ignore == 255
    assert loaded.palette is not None and loaded.palette[2] == "#010203"
    np.testing.assert_array_equal(loaded.masks[0], [[2, 2, 1, 1, 2, 2]] * 4)
    np.testing.assert_array_equal(loaded.masks[1], [[255] * 3 + [2] * 3] * 4)


def test_a_category_0_is_the_first_class(tmp_path: Path) -> None:
    document = coco()
    document["categories"][0]["id"] = 0
    for entry in document["annotations"]:
        for segment in entry["segments_info"]:
            segment["category_id"] = segment["category_id"] % 7
    loaded = load(save(tmp_path, document))
    assert loaded.names == ("sky", "person")
    np.testing.assert_array_equal(loaded.masks[0], [[0, 0, 1, 1, 0, 0]] * 4)


def test_beside_other_coco_files_the_panoptic_one_is_read_and_that_is_said(tmp_path: Path) -> None:
    path = save(tmp_path, coco())
    other = {"images": coco()["images"], "categories": [{"id": 1, "name": "x"}], "annotations": []}
    path.with_name("instances_val.json").write_text(json.dumps(other))
    loaded = load(tmp_path)
    assert loaded.names == ("background", "person", "sky")
    assert any("and not instances_val.json beside it" in note for note in loaded.notes)


def test_of_two_panoptic_files_none_is_chosen(tmp_path: Path) -> None:
    path = save(tmp_path, coco())
    path.with_name("panoptic_train.json").write_text(path.read_text())
    (tmp_path / "panoptic_train").mkdir()
    assert "panoptic_train.json, panoptic_val.json; name the file itself" in message_of(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image_id": 9}, "image_id is 9, which the file's images lack"),
        ({"image_id": 6}, "image 1 has another"),
        ({"file_name": "../image_0.png"}, "expected the name of its PNG"),
        ({"file_name": "image_7.png"}, "image_7.png"),
        ({"segments_info": 3}, "segments_info is 3; expected a list of objects"),
        ({"segments_info": [{"id": 256, "category_id": 4}]}, "category_id is 4"),
        ({"segments_info": [{"id": 2**24, "category_id": 3}]}, "a segment's id is 16777216"),
        ({"segments_info": [{"id": 0, "category_id": 3}]}, "a segment's id is 0"),
        ({"segments_info": [{"id": 256, "category_id": 3}]}, f"lack: {IDS[3]}, {IDS[1]}"),
    ],
)
def test_faults_are_one_line(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    document = coco()
    document["annotations"][0] |= change
    assert says in message_of(save(tmp_path, document))


def test_a_png_without_colours_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, coco())
    Image.new("L", SIZE[::-1]).save(path.with_suffix("") / "image_1.png")
    assert "the PNG's mode is L; expected RGB" in message_of(path)


def test_folders_of_segments_are_no_classes(tmp_path: Path) -> None:
    save(tmp_path, coco(), "panoptic_val")
    (tmp_path / "panoptic_train").mkdir()
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "panoptic_train" / "image_2.png")
    loaded = load(tmp_path)
    assert loaded.names == ("background", "person", "sky")
