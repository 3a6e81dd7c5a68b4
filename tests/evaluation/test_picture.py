"""The picture is one whole SVG, whatever the classes are called and however many there are."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.picture import MAX_CLASSES, picture_of

SVG = "{http://www.w3.org/2000/svg}"


def figures(names: list[str], matrix: list[list[int]], bins: list[dict[str, Any]] | None) -> dict[str, Any]:
    columns = [sum(column) for column in zip(*matrix, strict=True)]
    classes = [
        {"id": k, "name": name, "color": "#336699", "pixels": sum(row), "predicted_pixels": column}
        for k, (name, row, column) in enumerate(zip(names, matrix, columns, strict=True))
    ]
    return {
        "task": "segmentation",
        "classes": classes,
        "confusion": matrix,
        "reliability": bins,
        "expected_calibration_error": 0.125,
    }


def words_of(picture: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def test_cells_are_shares_of_their_row() -> None:
    picture = picture_of(figures(["sky", "earth"], [[30, 10], [0, 8]], None))
    words = words_of(picture)
    assert words.count("sky") == words.count("earth") == 2
    assert [word for word in words if word.isdigit()] == ["75", "25", "100"]
    tips = [element.text for element in ElementTree.fromstring(picture).iter(f"{SVG}title")][1:]
    assert tips == ["75.00% labelled sky", "25.00% labelled earth", "100.00% labelled earth"]


def test_a_class_that_occurs_nowhere_has_no_row() -> None:
    assert "sun" not in words_of(picture_of(figures(["sky", "sun"], [[3, 0], [0, 0]], None)))


def test_of_many_classes_those_with_most_pixels_are_shown() -> None:
    num = MAX_CLASSES + 5
    matrix = [[k + 1 if i == k else 0 for i in range(num)] for k in range(num)]
    words = words_of(picture_of(figures([f"c{k}" for k in range(num)], matrix, None)))
    assert "c4" not in words and "c5" in words
    assert "5 classes with fewer pixels are not shown" in words


@pytest.mark.parametrize("error", [0.125, None])
def test_the_diagram_has_a_bar_for_each_bin_with_pixels(error: float | None) -> None:
    full = {"above": 0.5, "up_to": 1.0, "pixels": 8, "confidence": 0.75, "accuracy": 0.5}
    empty = {"above": 0.0, "up_to": 0.5, "pixels": 0, "confidence": None, "accuracy": None}
    given_figures = {**figures(["sky"], [[8]], [empty, full]), "expected_calibration_error": error}
    picture = picture_of(given_figures)
    assert picture.count("right at a mean probability of") == 1
    assert ("Calibration error 0.1250" if error else "Calibration error -") in words_of(picture)


@given(st.lists(st.text(max_size=30), min_size=1, max_size=4))
def test_any_name_gives_well_formed_xml_that_runs_nothing(names: list[str]) -> None:
    names = [*names, "<script>alert(1)</script>", "'\"><a onclick='x'>", "\x1b[31m\x00"]
    picture = picture_of(figures(names, [[1] * len(names)] * len(names), None))
    root = ElementTree.fromstring(picture)
    kinds = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert kinds <= {"svg", "title", "rect", "text", "line"}
    assert not any(key.startswith("on") or "href" in key for each in root.iter() for key in each.attrib)
