"""Lists of classes in every kind of file, and the colours of classes that have none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.settings.classes import configured_classes, padded_names, places_of_names, read_classes_file
from pipeline.settings.schema import AnnotationsConfig, ClassConfig

HAIR = (ClassConfig("background", "#000000"), ClassConfig("hair", "#80ff00"))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "labelmap.txt",  # CVAT
            "# label:color_rgb:parts:actions\nbackground:0,0,0::\nhair:128,255,0::\n",
            HAIR,
        ),
        ("labelmap.txt", "background:0,0,0\r\nhair: 128, 255, 0 :lobe,tip:cut\r\n", HAIR),
        ("class_names.txt", "_background_\nhair\n", (ClassConfig("_background_"), ClassConfig("hair"))),
        # labelme's labels.txt, where __ignore__ is number -1
        ("labels.txt", "__ignore__\n_background_\nhair", (ClassConfig("_background_"), ClassConfig("hair"))),
        (
            "_classes.csv",  # Roboflow
            "Pixel Value, Class\n0, background\n1, hair, long\n",
            (ClassConfig("background"), ClassConfig("hair, long")),
        ),
        (
            "classes.toml",
            '[[classes]]\nname = "background"\ncolor = "#000000"\n'
            '[[classes]]\nname = "hair"\ncolor = "#80FF00"\n',
            HAIR,
        ),
    ],
)
def test_a_list_of_any_kind_is_read(
    tmp_path: Path, name: str, text: str, expected: tuple[ClassConfig, ...]
) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert read_classes_file(tmp_path / name) == expected
    assert configured_classes(AnnotationsConfig(classes_file=tmp_path / name))[0] == expected


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("labelmap.txt", "background:0,0,0::\nhair\n", "has a line 'hair'"),
        ("labelmap.txt", "background:0,0,256::\n", "expected name:r,g,b"),
        ("class_names.txt", "", "lists no class"),
        ("class_names.txt", "hair\nHair\n", "named 'Hair' as number 0 is"),
        ("class_names.txt", "a\x01b\n", r"name is 'a\x01b'"),
        ("_classes.csv", "Pixel Value, Class\n0, background\n2, hair\n", "from value 0 on"),
        ("_classes.csv", "Pixel Value, Class\n", "is no list of classes"),
        ("_classes.csv", "", "is no list of classes"),
        ("classes.toml", 'classes = "hair"', "has no tables [[classes]]"),
        ("none.txt", None, "cannot be read"),
    ],
)
def test_a_wrong_list_is_named_in_one_line(tmp_path: Path, name: str, text: str | None, part: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError) as caught:
        read_classes_file(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name)) and part in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=200), st.sampled_from(("labelmap.txt", "_classes.csv", "classes.toml")))
def test_any_content_is_a_list_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
) -> None:
    path = tmp_path_factory.mktemp("lists") / name
    path.write_bytes(content)
    try:
        assert all(entry.name.strip() for entry in read_classes_file(path))
    except UsageError as error:
        assert "\n" not in str(error)


@given(st.lists(st.sampled_from(["background", "class_1", "Class_3", "class_3_2", "door"]), unique=True))
def test_padded_names_differ_and_begin_with_those_given(names: list[str]) -> None:
    padded = padded_names(names, 6)
    assert padded[: len(names)] == names and len(padded) == 6
    assert len({name.casefold() for name in padded}) == 6


@given(st.lists(st.sampled_from("abc"), max_size=6))
def test_equal_lists_of_names_agree_place_by_place(names: list[str]) -> None:
    assert places_of_names(names, names) == list(range(len(names)))
    assert places_of_names(names, [*names, "d"]) == list(range(len(names)))


def test_a_name_that_is_several_classes_has_no_place() -> None:
    assert places_of_names(["b", "a", "x"], ["a", "b", "b"]) == [None, 0, None]
