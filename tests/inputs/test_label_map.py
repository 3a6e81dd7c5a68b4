"""Label maps: renaming, merging and dropping, on masks, colours and named formats; and what a wrong one
says.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.annotations import load_masks, refusal_of

from pipeline.errors import UsageError
from pipeline.inputs.annotations.classes.label_map import (
    IGNORED,
    LabelMap,
    map_labels,
    read_label_map,
)
from pipeline.inputs.annotations.source import SourceLabel
from pipeline.settings.schema import ClassConfig

GRID = (4, 8)
CAR = """
drop = ["logo", 4]
{more}

[[classes]]
name = "background"

[[classes]]
name = "body"
color = "#c0c0c0"
from = ["door", "Fender", 3]

[[classes]]
name = "wheel"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "map.toml"
    path.write_text(text, encoding="utf-8")
    return path


def car(folder: Path, more: str = "") -> Path:
    return write(folder, CAR.format(more=more))


load = partial(load_masks, grid=GRID)
message_of = partial(refusal_of, grid=GRID)


def masks(folder: Path, *columns: list[int]) -> Path:
    """A folder of masks whose rows are all ``columns``."""
    (folder / "masks").mkdir(exist_ok=True)
    for i, values in enumerate(columns):
        np.save(folder / "masks" / f"image_mask{i}.npy", np.tile(values, (GRID[0], 1)))
    return folder / "masks"


NAMED = tuple(map(ClassConfig, ("background", "door", "fender", "glass", "mirror", "logo", "wheel")))


def test_numbers_and_configured_names_of_mask_values_are_mapped(tmp_path: Path) -> None:
    folder = masks(tmp_path, [0, 1, 2, 3, 4, 5, 6, 6])
    loaded = load(folder, label_map=car(tmp_path), classes=NAMED)
    assert loaded.masks[0, 0].tolist() == [0, 1, 1, 1, 0, 0, 2, 2]
    assert loaded.names == ("background", "body", "wheel") and loaded.num_classes == 3
    assert loaded.palette is not None and loaded.palette[:2] == ("#000000", "#c0c0c0")


def test_labels_of_one_name_are_kept_as_one_class() -> None:
    """As they are without a map."""
    label_map = LabelMap(Path("map.toml"), (ClassConfig("background"),), ((),), rest="keep")
    labels = [SourceLabel(value, (name,)) for value, name in enumerate(("wheel", "door", "Wheel"), 1)]
    targets, classes = map_labels(label_map, labels)
    assert targets == [1, 2, 1] and [entry.name for entry in classes] == ["background", "wheel", "door"]


def test_a_value_without_a_name_is_not_the_class_that_has_its_name(tmp_path: Path) -> None:
    folder = masks(tmp_path, [0, 0, 1, 1, 3, 3, 3, 3])
    table = write(tmp_path, 'rest = "keep"\n[[classes]]\nname = "background"\n')
    loaded = load(folder, label_map=table, classes=(ClassConfig("background"), ClassConfig("class_3")))
    assert loaded.names == ("background", "class_3", "class_3_2")
    assert loaded.masks[0, 0].tolist() == [0, 0, 1, 1, 2, 2, 2, 2]


def test_values_without_names_go_by_their_number(tmp_path: Path) -> None:
    text = '[[classes]]\nname = "rest"\nfrom = [0, 2]\n[[classes]]\nname = "part"\nfrom = [1]\n'
    loaded = load(masks(tmp_path, [0, 1, 2, 2, 1, 1, 0, 0]), label_map=write(tmp_path, text))
    assert loaded.masks[0, 0].tolist() == [0, 1, 0, 0, 1, 1, 0, 0]


def test_names_that_no_pixel_has_are_noted_for_they_may_be_mistyped(tmp_path: Path) -> None:
    folder = masks(tmp_path, [0, 1, 3, 3, 4, 0, 6, 6])
    notes = load(folder, label_map=car(tmp_path), classes=NAMED).notes
    assert len(notes) == 1 and notes[0].endswith("is labelled 'fender', 'logo'")


def test_dropped_labels_may_be_ignored(tmp_path: Path) -> None:
    folder = masks(tmp_path, [0, 1, 2, 3, 4, 5, 6, 6])
    loaded = load(folder, label_map=car(tmp_path, 'drop_to = "ignore"'), classes=NAMED)
    assert loaded.masks[0, 0].tolist() == [0, 1, 1, 1, 255, 255, 2, 2] and loaded.ignore == 255


@pytest.mark.parametrize(
    ("ignore", "out"),
    [
        (255, 255),
        (4, 4),  # no class of the map has it, though the map mentions it
        (1, 255),  # the map's class 1: ignored pixels get a label of their own
    ],
)
def test_pixels_ignored_in_the_masks_stay_ignored(tmp_path: Path, ignore: int, out: int) -> None:
    folder = masks(tmp_path, [0, 3, 3, ignore, 0, 0, 0, 0])
    loaded = load(folder, label_map=car(tmp_path), ignore=ignore)
    assert loaded.masks[0, 0].tolist() == [0, 1, 1, out, 0, 0, 0, 0] and loaded.ignore == out


def test_a_class_named_ignore_is_none(tmp_path: Path) -> None:
    """In a label map it takes what is to be ignored; in a list of classes its place is an ignored value."""
    text = '[[classes]]\nname = "rest"\n[[classes]]\nname = "__ignore__"\nfrom = [1]\n'
    text += '[[classes]]\nname = "part"\nfrom = [2]\n'
    folder = masks(tmp_path, [0, 1, 2, 2, 1, 1, 0, 0])
    loaded = load(folder, label_map=write(tmp_path, text))
    assert loaded.masks[0, 0].tolist() == [0, 255, 1, 1, 255, 255, 0, 0]
    assert (loaded.names, loaded.ignore) == (("rest", "part"), 255)
    listed = load(folder, classes=tuple(map(ClassConfig, ("rest", "__ignore__", "part"))))
    np.testing.assert_array_equal(listed.masks, loaded.masks)
    assert (listed.names, listed.ignore) == (loaded.names, 255)
    assert "pixels labelled 1 (__ignore__) are ignored" in listed.notes[0]


@pytest.mark.parametrize(
    ("rest", "expected", "names"),
    [
        ("background", [0, 1, 0, 0], ("background", "body", "wheel")),
        ("ignore", [0, 1, 255, 255], ("background", "body", "wheel")),
        ("keep", [0, 1, 3, 4], ("background", "body", "wheel", "class_7", "class_9")),
    ],
)
def test_the_rest_may_be_dropped_or_kept(
    tmp_path: Path, rest: str, expected: list[int], names: tuple[str, ...]
) -> None:
    folder = masks(tmp_path, [0, 3, 7, 9] * 2, [0, 3, 9, 7] * 2)
    loaded = load(folder, label_map=car(tmp_path, f'rest = "{rest}"'))
    assert loaded.masks[0, 0, :4].tolist() == expected and loaded.names == names


def test_labels_that_are_not_mentioned_are_listed_with_counts_and_files(tmp_path: Path) -> None:
    folder = masks(tmp_path, [0, 3, 7, 7, 9, 0, 0, 0], [0, 7, 0, 0, 0, 0, 0, 0])
    message = message_of(folder, label_map=car(tmp_path))
    assert "7 (class_7) (12 pixels in image_mask0.npy, image_mask1.npy)" in message.replace("'", "")
    assert "9 (class_9) (4 pixels in image_mask0.npy)" in message.replace("'", "")
    assert "map.toml" in message and 'set rest = "background"' in message


def test_named_formats_are_mapped_by_name_in_any_case(tmp_path: Path) -> None:
    shapes = [
        {"label": name, "shape_type": "rectangle", "points": [[i, 0], [i + 1, 4]]}
        for i, name in enumerate(["DOOR", "fender", "Wheel", "logo"])
    ]
    folder = tmp_path / "annotations"
    folder.mkdir()
    path = folder / "0.json"
    path.write_text(json.dumps({"shapes": shapes, "imageHeight": 4, "imageWidth": 8}))
    assert load(folder, label_map=car(tmp_path)).masks[0, 0].tolist() == [1, 1, 2, 0, 0, 0, 0, 0]
    shapes[0]["label"] = "dor"
    path.write_text(json.dumps({"shapes": shapes, "imageHeight": 4, "imageWidth": 8}))
    assert "'dor' (4 pixels in 0.json; nearest is door)" in message_of(folder, label_map=car(tmp_path))


def test_coco_categories_are_mapped_by_name_or_id(tmp_path: Path) -> None:
    boxes = [[i, 0, i + 1, 0, i + 1, 4, i, 4] for i in range(3)]
    document = {
        "images": [{"id": 1, "file_name": "0.png", "height": 4, "width": 8}],
        "categories": [{"id": 3, "name": "left"}, {"id": 4, "name": "right"}, {"id": 5, "name": "wheel"}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": i + 3, "segmentation": [box]}
            for i, box in enumerate(boxes)
        ],
    }
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(document))
    assert load(path, label_map=car(tmp_path)).masks[0, 0].tolist() == [1, 0, 2, 0, 0, 0, 0, 0]


def test_colours_are_mapped_by_themselves_or_by_their_classes(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    colors = [(0, 0, 0), (255, 0, 0), (0, 255, 0), (192, 192, 192)] * 2
    pixels = np.tile(np.array(colors, np.uint8), (4, 1, 1))
    Image.fromarray(pixels).save(tmp_path / "masks" / "0.png")
    text = CAR.format(more="").replace('"door"', '"#FF0000"')
    message = message_of(tmp_path / "masks", label_map=write(tmp_path, text))
    assert "'#00ff00'" in message and "'#ff0000'" not in message and "'#000000'" not in message
    classes = (ClassConfig("ground", "#000000"), ClassConfig("Wheel", "#00ff00"))
    message = message_of(tmp_path / "masks", label_map=write(tmp_path, text), classes=classes)
    assert "'#000000' (ground) (8 pixels" in message
    text = text.replace('name = "background"', 'name = "background"\ncolor = "#000000"')
    loaded = load(tmp_path / "masks", label_map=write(tmp_path, text), classes=classes)
    assert loaded.masks[0, 0].tolist() == [0, 1, 2, 1] * 2


def test_a_label_that_two_classes_claim_is_refused(tmp_path: Path) -> None:
    text = '[[classes]]\nname = "a"\nfrom = [1]\n[[classes]]\nname = "b"\nfrom = ["door"]\n'
    message = message_of(masks(tmp_path, [0, 1] * 4), label_map=write(tmp_path, text), classes=NAMED)
    assert "label 1 (door) is meant twice: class 'a' takes 1, class 'b' takes 'door'" in message.replace(
        '("', "("
    )


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["no tables [[classes]]"]),
        ("classes = 3", ["no tables [[classes]]"]),
        ("[[classes]]\ncolor = '#ffffff'", ["number 0", "name is None"]),
        ("[[classes]]\nname = 'a'\ncolor = 'red'", ["number 0", "color is 'red'"]),
        ("[[classes]]\nname = 'a'\nform = ['b']", ["'form'", "'from'"]),
        ("[[classes]]\nname = 'a'\nfrom = 'b'", ["from is 'b'", "list"]),
        ("[[classes]]\nname = 'a'\nfrom = [1.5]", ["from holds 1.5"]),
        ("[[classes]]\nname = 'a'\nfrom = [true]", ["from holds True"]),
        ("[[classes]]\nname = 'a'\n[[classes]]\nname = 'A'", ["number 1", "number 0"]),
        (
            "[[classes]]\nname = 'a'\nfrom = ['x']\n[[classes]]\nname = 'b'\nfrom = ['X']",
            ["'x' stands twice"],
        ),
        ("drop = ['x']\n[[classes]]\nname = 'a'\nfrom = ['x']", ["'x' stands twice", "drop"]),
        ("drop_to = 'bin'\n[[classes]]\nname = 'a'", ["drop_to is 'bin'", "'ignore'"]),
        ("rest = 'drop'\n[[classes]]\nname = 'a'", ["rest is 'drop'", "'keep'"]),
        ("merge = 3\n[[classes]]\nname = 'a'", ["unknown key 'merge'"]),
        ("[[classes]\n", ["cannot be read as TOML"]),
        ("\udcff", ["it is not UTF-8"]),
    ],
)
def test_a_wrong_map_is_named_in_one_line(tmp_path: Path, text: str, parts: list[str]) -> None:
    path = tmp_path / "map.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError) as caught:
        read_label_map(path)
    for part in [str(path), *parts]:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_map_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml"):
        read_label_map(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="cannot be read"):
        read_label_map(tmp_path)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.sets(st.integers(0, 11)))
def test_each_label_goes_where_it_is_mentioned_and_nowhere_else(owners: list[int], dropped: set[int]) -> None:
    """Labels are numbers; owner 0 to 2 is a class, 3 to 5 is none."""
    sources = tuple(tuple(n for n, o in enumerate(owners) if o == c and n not in dropped) for c in range(3))
    classes = tuple(ClassConfig(name) for name in "abc")
    label_map = LabelMap(Path("m"), classes, sources, tuple(sorted(dropped)), "ignore")
    labels = [SourceLabel(number, (f"label {number}",)) for number in range(len(owners))]
    targets, after = map_labels(label_map, labels)
    assert after == classes
    for number, (owner, target) in enumerate(zip(owners, targets, strict=True)):
        assert target == (IGNORED if number in dropped else owner if owner < 3 else None)
