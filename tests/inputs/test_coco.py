"""COCO files as CVAT, Label Studio and Roboflow export them: numbers, categories, shapes, and faults."""

from __future__ import annotations

import copy
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from support.annotations import load_masks, refusal_of

from pipeline.errors import UsageError
from pipeline.inputs.annotations.load import open_annotations
from pipeline.inputs.numbers import image_number
from pipeline.settings.schema import AnnotationsConfig, ClassConfig

SIZE = (8, 12)
MASK = np.random.default_rng(0).integers(0, 2, SIZE).astype(np.uint8)
TEXT = coco_mask.encode(np.asfortranarray(MASK))["counts"].decode()


def box(left: float, top: float, right: float, bottom: float) -> list[float]:
    return [left, top, right, top, right, bottom, left, bottom]


def entry(number: int, image: int, category: int, segmentation: Any) -> dict[str, Any]:
    keys = {"id": number, "image_id": image, "category_id": category, "segmentation": segmentation}
    return {**keys, "area": 1.0, "bbox": [0, 0, 1, 1], "iscrowd": 0}


def cvat() -> dict[str, Any]:
    """As CVAT writes it: ids from 1, attributes, every image of the task listed."""
    return {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "date_created": ""},
        "categories": [
            {"id": 1, "name": "door", "supercategory": ""},
            {"id": 2, "name": "wheel", "supercategory": ""},
        ],
        "images": [
            {
                "id": i + 1,
                "width": 12,
                "height": 8,
                "file_name": f"sub/image_{i}.png",
                "license": 0,
                "flickr_url": "",
            }
            for i in range(3)
        ],
        "annotations": [
            {**entry(1, 1, 2, [box(0, 0, 4, 4)]), "attributes": {"occluded": False}},
            entry(2, 1, 1, [box(2, 0, 8, 8), box(10, 0, 12, 2)]),
            {**entry(3, 2, 2, {"counts": TEXT, "size": [8, 12]}), "iscrowd": 1},
        ],
    }


def label_studio() -> dict[str, Any]:
    """As Label Studio writes it: ids from 0, a hash before each name, Windows' folders."""
    return {
        "images": [
            {"width": 12, "height": 8, "id": i, "file_name": f"images\\{i}a{i}b{i}c{i}d-image_{i}.png"}
            for i in range(2)
        ],
        "categories": [{"id": 0, "name": "door"}, {"id": 1, "name": "wheel"}],
        "annotations": [
            {**entry(0, 0, 0, [box(0, 0, 6, 8)]), "ignore": 0},
            {**entry(1, 1, 1, [box(0, 0, 6, 8)]), "ignore": 0},
        ],
        "info": {"year": 2024},
    }


def save(folder: Path, document: Any, name: str = "coco.json") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


load = partial(load_masks, grid=SIZE)
message_of = partial(refusal_of, grid=SIZE)


def expected_first(later: bool) -> np.ndarray[Any, Any]:
    mask = np.zeros(SIZE, np.uint8)
    mask[:, 2:8] = mask[:2, 10:] = 1
    mask[:4, : 2 if later else 4] = 2
    return mask


@pytest.mark.parametrize(
    "place", ["coco.json", "instances_default.json", "annotations/instances_default.json"]
)
def test_a_cvat_export_is_read_as_a_file_and_as_the_folder_it_unpacks_to(tmp_path: Path, place: str) -> None:
    path = save(tmp_path, cvat(), place)
    (tmp_path / "images").mkdir()
    for location in (path, tmp_path):
        loaded = load(location)
        assert loaded.names == ("background", "door", "wheel")
        np.testing.assert_array_equal(loaded.masks[0], expected_first(later=True))
        np.testing.assert_array_equal(loaded.masks[1], 2 * MASK)
        assert len(loaded.masks) == 2


def test_images_without_annotations_are_not_annotated_and_are_named(tmp_path: Path) -> None:
    source = open_annotations(AnnotationsConfig(folder=save(tmp_path, cvat())))
    assert source.numbers == (0, 1) and source.files[0] == "sub/image_0.png (id 1)"
    assert source.hint == "images without any annotation: sub/image_2.png"


@pytest.mark.parametrize("is_file", [True, False])
def test_a_file_that_annotates_nothing_says_so_with_its_images(tmp_path: Path, is_file: bool) -> None:
    path = save(tmp_path, {**cvat(), "annotations": []})
    with pytest.raises(UsageError) as caught:
        load(path if is_file else tmp_path)
    message = str(caught.value)
    assert "none of its 3 images is annotated" in message and "sub/image_0.png" in message


def test_keypoints_without_segmentation_point_to_their_task(tmp_path: Path) -> None:
    document = cvat()
    for entry in document["annotations"]:
        entry["segmentation"] = []
        entry["keypoints"] = [1, 2, 2]
    with pytest.raises(UsageError, match="these are keypoints: pass --task keypoints"):
        load(save(tmp_path, document))


def test_a_label_studio_export_is_read(tmp_path: Path) -> None:
    loaded = load(save(tmp_path, label_studio(), "result.json"))
    assert loaded.names == ("background", "door", "wheel")
    assert loaded.masks[0, 0].tolist() == [1] * 6 + [0] * 6
    assert loaded.masks[1, 0].tolist() == [2] * 6 + [0] * 6


@pytest.mark.parametrize("later", [True, False])
def test_of_overlapping_shapes_the_chosen_one_is_seen(tmp_path: Path, later: bool) -> None:
    loaded = load(save(tmp_path, cvat()), overlap="later" if later else "earlier")
    np.testing.assert_array_equal(loaded.masks[0], expected_first(later))


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("image_3.png", 3),
        ("abcd1234-image_3.png", 3),  # Label Studio
        ("a/b/0012.jpg", 12),
        ("c:\\x\\image_7.jpeg", 7),
        ("seed0005.png", 5),
        ("2024/image.png", None),  # a folder's number is not the image's
        ("image_3_png.rf.0a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d.jpg", 3),  # Roboflow
        ("/data/local-files/?d=set1/image_4.png", 4),
        ("image_99999999999999999999.png", None),
        ("", None),
        ("größe_8.PNG", 8),
        ("image_3", 3),
    ],
)
def test_the_images_number_is_the_last_integer_of_its_name(name: str, number: int | None) -> None:
    assert image_number(name) == number


def test_categories_are_classes_in_the_order_of_their_ids_used_or_not(tmp_path: Path) -> None:
    document = cvat()
    document["categories"] = [{"id": 9, "name": "unused"}, *reversed(document["categories"])]
    assert load(save(tmp_path, document)).names == ("background", "door", "wheel", "unused")


def test_configured_classes_are_found_by_name(tmp_path: Path) -> None:
    classes = (ClassConfig("background"), ClassConfig("WHEEL"), ClassConfig("Door"))
    loaded = load(save(tmp_path, cvat()), classes=classes)
    swapped = np.array([0, 2, 1])[expected_first(later=True)]
    np.testing.assert_array_equal(loaded.masks[0], swapped)


def test_a_background_category_is_class_zero(tmp_path: Path) -> None:
    document = cvat()
    document["categories"][0]["name"] = "Background"
    assert load(save(tmp_path, document)).names == ("background", "wheel")


def test_polygons_without_an_area_are_left_out_and_counted(tmp_path: Path) -> None:
    document = cvat()
    document["annotations"][0]["segmentation"].append([1, 1, 2, 2])  # the library would take four for a box
    loaded = load(save(tmp_path, document))
    np.testing.assert_array_equal(loaded.masks[0], expected_first(later=True))
    assert "left out 1 polygon of fewer than 3 points" in loaded.notes[0]


def test_uncompressed_run_lengths_are_read(tmp_path: Path) -> None:
    document = cvat()
    document["annotations"][2]["segmentation"] = {"counts": [8, 8, 80], "size": [8, 12]}
    mask = load(save(tmp_path, document)).masks[1]
    assert (mask[:, 1] == 2).all() and mask.sum() == 16


def without(document: dict[str, Any], *keys: Any) -> dict[str, Any]:
    return changed(document, *keys, None, remove=True)


def changed(document: dict[str, Any], *keys_and_value: Any, remove: bool = False) -> dict[str, Any]:
    document = copy.deepcopy(document)
    *keys, last, value = keys_and_value
    target: Any = document
    for key in keys:
        target = target[key]
    if remove:
        del target[last]
    else:
        target[last] = value
    return document


@pytest.mark.parametrize(
    ("document", "parts"),
    [
        ([], ["a list of 0 entries", "COCO"]),
        ({"images": [], "annotations": []}, ["without images, annotations, categories"]),
        (changed(cvat(), "images", 5), ["images is 5"]),
        (changed(cvat(), "annotations", [3]), ["annotations is a list"]),
        (without(cvat(), "images", 0, "height"), ["image_0.png", "height is None"]),
        (changed(cvat(), "images", 0, "width", 2**40), ["image_0.png", "at most"]),
        (changed(cvat(), "images", 1, "id", 1), ["images number 1", "its id, 1"]),
        (changed(cvat(), "images", 1, "id", "x"), ["id is 'x'"]),
        (changed(cvat(), "images", 1, "id", True), ["id is True"]),
        (
            changed(cvat(), "images", 1, "file_name", "other/img-0.jpg"),
            ["image 0", "image_0.png", "img-0.jpg"],
        ),
        (changed(cvat(), "images", 1, "file_name", "front.png"), ["'front.png' has no number"]),
        (changed(cvat(), "images", 1, "file_name", "a\n1.png"), ["file_name is"]),
        (changed(cvat(), "categories", 0, "name", "a\nb"), ["name is"]),
        (changed(cvat(), "images", 1, "file_name", None), ["file_name is None"]),
        (changed(cvat(), "categories", 1, "id", 1), ["categories number 1", "'door'"]),
        (changed(cvat(), "categories", 1, "name", ""), ["name is ''"]),
        (changed(cvat(), "annotations", 0, "image_id", 77), ["annotation 1", "77", "images lack"]),
        (changed(cvat(), "annotations", 0, "category_id", 77), ["annotation 1", "77", "categories lack"]),
        (
            changed(cvat(), "annotations", 0, "segmentation", []),
            ["annotation 1", "no segmentation but a box"],
        ),
        (changed(cvat(), "annotations", 0, "segmentation", "x"), ["no segmentation"]),
        (changed(cvat(), "annotations", 0, "segmentation", [5]), ["a polygon", "expected numbers|of 1 "]),
        (changed(cvat(), "annotations", 0, "segmentation", [[1, 2, 3, float("nan"), 5, 6]]), ["not finite"]),
        (changed(cvat(), "annotations", 2, "segmentation", "size", [12, 8]), ["[12, 8]", "[8, 12]"]),
        (changed(cvat(), "annotations", 2, "segmentation", "counts", TEXT[:-1]), ["annotation 3", "cover"]),
        (changed(cvat(), "annotations", 2, "segmentation", "counts", [5]), ["cover 5 pixels"]),
    ],
)
def test_a_wrong_file_is_named_in_one_line(tmp_path: Path, document: Any, parts: list[str]) -> None:
    path = save(tmp_path, document)
    message = message_of(path)
    assert str(path) in message
    for part in parts:
        assert any(option in message for option in part.split("|"))


@given(st.data())
def test_a_truncated_or_bent_file_is_refused_or_read_but_never_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = json.dumps(cvat()).encode()
    place = data.draw(st.integers(0, len(whole) - 1))
    cut = data.draw(st.booleans())
    bent = (
        whole[:place] if cut else whole[:place] + bytes([data.draw(st.integers(0, 255))]) + whole[place + 1 :]
    )
    path = tmp_path_factory.mktemp("bent") / "coco.json"
    path.write_bytes(bent)
    try:
        assert load(path).masks.shape[1:] == SIZE
        assert not cut
    except UsageError as error:
        assert "\n" not in str(error) and str(path) in str(error)


def test_several_files_in_a_folder_must_be_told_apart(tmp_path: Path) -> None:
    for name in ("train.json", "val.json"):
        save(tmp_path, cvat(), name)
    assert "train.json, val.json; name the file itself" in message_of(tmp_path)


def test_labelme_and_coco_in_one_folder_are_ambiguous(tmp_path: Path) -> None:
    save(tmp_path, cvat())
    save(tmp_path, {"shapes": [], "imageHeight": 8, "imageWidth": 12}, "0.json")
    message = message_of(tmp_path)
    assert (
        "labelme (0.json)" in message and "coco (coco.json)" in message and "--annotation-format" in message
    )
    assert load(tmp_path, format="coco").names == ("background", "door", "wheel")


def test_the_category_ignore_is_no_class(tmp_path: Path) -> None:
    document = cvat()
    document["categories"][0]["name"] = "__ignore__"
    loaded = load(save(tmp_path, document))
    assert (loaded.names, loaded.ignore) == (("background", "wheel"), 255)
    assert loaded.masks[0, 0, 3:].tolist() == [255] * 5 + [0, 0] + [255, 255]
    assert "pixels labelled 1 (__ignore__) are ignored" in loaded.notes[-1]


@pytest.mark.parametrize("color", [[18, 52, 86], "#123456"])  # as panoptic files, and as COCO Annotator
def test_categories_may_have_colours(tmp_path: Path, color: Any) -> None:
    document = cvat()
    document["categories"][1]["color"] = color
    document["categories"].append({"id": 3, "name": "__ignore__", "color": "#ffffff"})
    document["annotations"][2]["category_id"] = 3
    loaded = load(save(tmp_path, document))
    assert loaded.names == ("background", "door", "wheel")
    assert loaded.palette is not None and loaded.palette[2] == "#123456"
    np.testing.assert_array_equal(loaded.masks[1], 255 * MASK)


@pytest.mark.parametrize("color", ["red", [1, 2], [1, 2, 256], [1, 2, True], None, 7])
def test_colours_of_other_kinds_are_left_alone(tmp_path: Path, color: Any) -> None:
    document = cvat()
    document["categories"][1]["color"] = color
    assert load(save(tmp_path, document)).palette is None
