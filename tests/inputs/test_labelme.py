"""LabelMe folders: shapes to masks, image numbers, classes by name, and what a damaged file says."""

from __future__ import annotations

import base64
import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.annotations import load_masks, refusal_of

from pipeline.errors import UsageError
from pipeline.inputs.annotations.load import open_annotations
from pipeline.settings.schema import AnnotationsConfig, ClassConfig

SIZE = (8, 12)


def shape(label: str, points: Any, kind: str | None = "polygon", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **more}


def box(label: str, left: int, top: int, right: int, bottom: int, **more: Any) -> dict[str, Any]:
    return shape(label, [[left, top], [right, top], [right, bottom], [left, bottom]], **more)


def document(*shapes: Any, **more: Any) -> dict[str, Any]:
    """As LabelMe 5 writes it."""
    keys = {"version": "5.4.1", "flags": {}, "shapes": list(shapes), "imagePath": "image_0.png"}
    return {**keys, "imageData": None, "imageHeight": SIZE[0], "imageWidth": SIZE[1], **more}


def save(folder: Path, number: int, *shapes: Any, **more: Any) -> Path:
    path = folder / f"image_{number}.json"
    more = {"imagePath": f"image_{number}.png", **more}
    path.write_text(json.dumps(document(*shapes, **more)), encoding="utf-8")
    return path


load = partial(load_masks, grid=SIZE)
message_of = partial(refusal_of, grid=SIZE)


def test_shapes_become_classes_named_as_they_are_labelled(tmp_path: Path) -> None:
    save(tmp_path, 0, box("wheel", 0, 0, 4, 4), shape("door", [[6, 2], [10, 8]], "rectangle"))
    save(tmp_path, 1, shape("wheel", [[6, 4], [6, 7]], "circle"))
    loaded = load(tmp_path)
    assert loaded.names == ("background", "door", "wheel")
    assert (loaded.num_classes, loaded.palette, loaded.ignore) == (3, None, None)
    expected = np.zeros(SIZE, np.uint8)
    expected[:4, :4], expected[2:8, 6:10] = 2, 1
    np.testing.assert_array_equal(loaded.masks[0], expected)
    assert loaded.masks[1, 4, 6] == 2 and loaded.masks[1, 0, 0] == 0
    assert abs((loaded.masks[1] == 2).sum() - np.pi * 9) < 4


def test_the_number_is_in_the_files_name_or_else_in_the_pictures(tmp_path: Path) -> None:
    for name, picture in (
        ("image_12.json", "x.png"),
        ("b.json", "..\\raw\\image_3.png"),
        ("0007.json", "1.png"),
    ):
        (tmp_path / name).write_text(json.dumps(document(imagePath=picture)))
    config = AnnotationsConfig(folder=tmp_path)
    assert open_annotations(config).numbers == (3, 7, 12)
    (tmp_path / "b.json").write_text(json.dumps(document(imagePath="x.png")))
    assert "neither its name nor its imagePath has a number" in message_of(tmp_path)
    (tmp_path / "b.json").write_text(json.dumps(document(imagePath="i7.png")))
    assert "annotates image 7 too" in message_of(tmp_path)


@pytest.mark.parametrize(("overlap", "middle"), [("later", 2), ("earlier", 1)])
def test_of_overlapping_shapes_the_chosen_one_is_seen(tmp_path: Path, overlap: str, middle: int) -> None:
    save(tmp_path, 0, box("a", 0, 0, 6, 8), box("b", 4, 0, 10, 8))
    assert load(tmp_path, overlap=overlap).masks[0, 0, 3:7].tolist() == [1, middle, middle, 2]


def test_pictures_and_other_files_beside_do_not_disturb(tmp_path: Path) -> None:
    save(tmp_path, 0, box("a", 0, 0, 6, 8), imageData="not even base64")
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "image_0.png")
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "0.png")  # colours: no mask
    (tmp_path / "settings.json").write_text('{"zoom": 3}')
    (tmp_path / "._image_0.json").write_bytes(b"\0\5\26\7")  # as macOS leaves in archives
    assert load(tmp_path).names == ("background", "a")


def test_shapes_without_an_area_are_left_out_and_counted(tmp_path: Path) -> None:
    save(
        tmp_path,
        0,
        box("a", 0, 0, 6, 8),
        shape("eye", [[1, 1]], "point"),
        shape("x", [[1, 1], [2, 2]], "line"),
    )
    save(tmp_path, 1, shape("a", [[1, 1], [2, 2]]), shape("eye", [[1, 1]], "point"))
    loaded = load(tmp_path)
    assert loaded.names == ("background", "a")
    assert len(loaded.notes) == 2 and "1 lines, 2 points, 1 shapes 'polygon'" in loaded.notes[0]


def test_a_mask_shape_is_pasted_at_its_box(tmp_path: Path) -> None:
    part = np.random.default_rng(0).integers(0, 2, (3, 5)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(part * 255).save(buffer, format="PNG")
    text = base64.b64encode(buffer.getvalue()).decode()
    save(tmp_path, 0, shape("a", [[4, 2], [8, 4]], "mask", mask=text))
    expected = np.zeros(SIZE, np.uint8)
    expected[2:5, 4:9] = part
    np.testing.assert_array_equal(load(tmp_path).masks[0], expected)
    for broken in (None, 5, "????", text[:20], base64.b64encode(b"GIF89a").decode()):
        save(tmp_path, 0, shape("a", [[4, 2], [8, 4]], "mask", mask=broken))
        assert "shape 0 ('a'): its mask" in message_of(tmp_path)
    save(tmp_path, 0, shape("a", [[9, 2], [11, 4]], "mask", mask=text))
    assert "leaves the image" in message_of(tmp_path)


def test_an_old_file_has_polygons_without_a_type(tmp_path: Path) -> None:
    save(tmp_path, 0, shape("a", [[0, 0], [6, 0], [6, 8], [0, 8]], None))
    assert (load(tmp_path).masks[0] == 1).sum() == 48


@pytest.mark.parametrize("name", ["background", "_background_", "Background"])
def test_what_is_called_background_is_class_zero(tmp_path: Path, name: str) -> None:
    save(tmp_path, 0, box("a", 0, 0, 6, 8), box(name, 0, 0, 2, 8))
    loaded = load(tmp_path)
    assert loaded.names == ("background", "a") and loaded.masks[0, 0].tolist() == [0, 0, 1, 1, 1, 1] + [0] * 6


@pytest.mark.parametrize("kind", ["oriented_rectangle", "rotation", "quadrilateral"])
def test_turned_rectangles_are_their_four_corners(tmp_path: Path, kind: str) -> None:
    corners = [[6, 0.4], [9.6, 4], [6, 7.6], [2.4, 4]]
    save(tmp_path, 0, shape("nose", corners, kind))
    rows, columns = np.indices(SIZE) + 0.5
    inside = np.abs(columns - 6) + np.abs(rows - 4) < 3.6  # of a pixel's centre, in the diamond's metric
    np.testing.assert_array_equal(load(tmp_path).masks[0], inside)


def test_shapes_of_unknown_kinds_are_refused_by_name(tmp_path: Path) -> None:
    save(tmp_path, 0, box("hair", 0, 0, 6, 8), shape("nose", POLYGON, "cuboid"))
    message = message_of(tmp_path)
    assert "image_0.json: shape 1 ('nose'): shape_type is 'cuboid', 3 points" in message
    assert "save it as a polygon" in message


def test_ignored_areas_are_none_of_the_classes(tmp_path: Path) -> None:
    shapes = (box("hair", 0, 0, 6, 8), box("__ignore__", 0, 4, 12, 8), box("_background_", 0, 0, 2, 2))
    save(tmp_path, 0, *shapes)
    expected = np.zeros(SIZE, np.uint8)
    expected[:, :6], expected[4:], expected[:2, :2] = 1, 255, 0
    for classes in ((), (ClassConfig("background"), ClassConfig("hair"))):
        loaded = load(tmp_path, classes=classes)
        np.testing.assert_array_equal(loaded.masks[0], expected)
        assert (loaded.names, loaded.ignore) == (("background", "hair"), 255)
        assert loaded.notes == (
            f"{tmp_path}: pixels labelled '__ignore__' are ignored: they count in no loss and no score, and "
            "are stored as label 255",
        )
    assert load(tmp_path, ignore=100).notes == () and load(tmp_path, ignore=100).masks[0, 7, 0] == 100
    path = tmp_path / "map.toml"
    path.write_text('[[classes]]\nname = "rest"\n[[classes]]\nname = "head"\nfrom = ["hair"]\n')
    np.testing.assert_array_equal(load(tmp_path, label_map=path).masks[0], expected)
    path.write_text(path.read_text().replace('["hair"]', '["hair", "__ignore__"]'))  # wanted after all
    np.testing.assert_array_equal(load(tmp_path, label_map=path).masks[0], np.minimum(expected, 1))


def test_configured_classes_are_found_by_name_whatever_the_case(tmp_path: Path) -> None:
    save(tmp_path, 0, box("Räder", 0, 0, 6, 8), box("door", 6, 0, 12, 8))
    classes = (
        ClassConfig("none"),
        ClassConfig("Door", "#00ff00"),
        ClassConfig("glass"),
        ClassConfig("räder"),
    )
    loaded = load(tmp_path, classes=classes)
    assert loaded.names == ("none", "Door", "glass", "räder")
    assert loaded.masks[0, 0].tolist() == [3] * 6 + [1] * 6
    assert loaded.palette is not None and loaded.palette[1] == "#00ff00"


def test_labels_that_are_no_class_are_listed_with_counts_and_files(tmp_path: Path) -> None:
    save(tmp_path, 0, box("dor", 0, 0, 6, 8), box("wheel", 6, 0, 12, 8))
    save(tmp_path, 1, box("dor", 0, 0, 1, 8), box("logo", 6, 0, 12, 8))
    save(tmp_path, 2, box("logo", 0, 0, 12, 8))
    message = message_of(
        tmp_path, classes=(ClassConfig("background"), ClassConfig("door"), ClassConfig("wheel"))
    )
    assert "'logo' (144 pixels in image_1.json, image_2.json)" in message
    assert "'dor' (56 pixels in image_0.json, image_1.json; nearest is door)" in message
    assert "--label-map" in message and "wheel" not in message


def test_a_first_class_that_is_drawn_and_outside_too_is_noted(tmp_path: Path) -> None:
    save(tmp_path, 0, box("door", 0, 0, 6, 8))
    loaded = load(tmp_path, classes=(ClassConfig("door"), ClassConfig("wheel")))
    assert "class 0, 'door'" in loaded.notes[0] and not loaded.masks.any()


def test_classes_may_be_fewer_than_asked_for_but_not_more(tmp_path: Path) -> None:
    save(tmp_path, 0, box("a", 0, 0, 6, 8), box("b", 6, 0, 12, 8))
    assert load(tmp_path, num_classes=5).names == ("background", "a", "b", "class_3", "class_4")
    assert "has 3 classes, background, a, b, but num_classes is 2" in message_of(tmp_path, num_classes=2)


def test_a_class_that_nobody_has_named_takes_no_name_that_is_taken(tmp_path: Path) -> None:
    save(tmp_path, 0, box("class_1", 0, 0, 6, 8), box("class_3", 6, 0, 12, 8))
    loaded = load(tmp_path, num_classes=5)
    assert loaded.names == ("background", "class_1", "class_3", "class_3_2", "class_4")
    assert set(np.unique(loaded.masks)) == {1, 2}


POLYGON = [[0, 0], [5, 0], [5, 5]]


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        (document(imageHeight=None), ["image", "height is None"]),
        (document(imageHeight="8"), ["height is '8'"]),
        (document(imageHeight=10**9), ["at most"]),  # would take a terabyte
        (document(imageWidth=float("nan")), ["width nan"]),
        (document(imageWidth=-3), ["width -3"]),
        (document(shapes=5), ["shapes is 5"]),
        (document(5), ["shapes is a list"]),
        (document(shape("", POLYGON)), ["shape 0: label is ''"]),
        (document(shape("a\nb", POLYGON)), [r"label is 'a\nb'"]),
        (document(shape("\ud800", POLYGON)), [r"label is '\ud800'"]),  # is no text that a store can hold
        (document(shape("a" * 300, POLYGON)), ["label is 'aaa"]),
        (document(shape(None, POLYGON)), ["label is None"]),  # type: ignore[arg-type]
        (document(shape("a", [[0, 0], [float("nan"), 1], [3, 3]])), ["shape 0 ('a')", "not finite"]),
        (document(shape("a", "xyz")), ["expected numbers"]),
        (document(shape("a", None)), ["shape 0"]),
        (document(shape("a", [[1, 1]], "circle")), ["has 1 point as 'circle'"]),
        (document(shape("a", [[0, 0], [1e12, 0], [3, 3]])), ["far outside"]),
    ],
)
def test_a_wrong_file_is_named_in_one_line(tmp_path: Path, written: Any, parts: list[str]) -> None:
    (tmp_path / "image_0.json").write_text(json.dumps(written))
    message = message_of(tmp_path)
    for part in ["image_0.json", *parts]:
        assert part in message


@given(st.data())
def test_a_truncated_or_bent_file_is_refused_or_read_but_never_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("bent")
    whole = json.dumps(document(box("a", 0, 0, 6, 8), shape("b", [[6, 4], [6, 7]], "circle"))).encode()
    place = data.draw(st.integers(0, len(whole) - 1))
    cut = data.draw(st.booleans())
    bent = (
        whole[:place] if cut else whole[:place] + bytes([data.draw(st.integers(0, 255))]) + whole[place + 1 :]
    )
    (folder / "image_0.json").write_bytes(bent)
    try:
        assert load(folder).masks.shape == (1, *SIZE)
        assert not cut
    except UsageError as error:
        assert "\n" not in str(error) and str(folder) in str(error)


def test_nested_json_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image_0.json").write_text("[" * 100_000)
    assert "cannot be read as JSON" in message_of(tmp_path)


def test_files_without_areas_and_of_another_picture_are_named(tmp_path: Path) -> None:
    save(tmp_path, 0, box("wheel", 0, 0, 4, 4), imagePath="..\\images\\image_7.png")
    save(tmp_path, 1, shape("tip", [[1, 1]], "point"))
    save(tmp_path, 2, box("wheel", 0, 0, 4, 4), imagePath="photo.png")
    loaded = load(tmp_path)
    assert loaded.masks[:, 0, 0].tolist() == [1, 0, 1]
    left_out, empty, other = loaded.notes
    assert "1 point" in left_out
    assert "no areas are drawn, and all is background, in image_1.json" in empty
    assert "imagePath has another one: image_0.json (..\\images\\image_7.png)" in other
