"""The plot of a training, and its sample sheets."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.translate.training.plot import curves_svg
from pipeline.translate.training.sheets import has_sheet, sheet, sheet_name


def row(epoch: int, *, paired: bool = False, adversary: bool = True) -> dict[str, object]:
    measured: dict[str, dict[str, float]] = {"source_to_target": {}, "target_to_source": {}}
    for figures in measured.values():
        figures |= {"feedback": 0.5 / epoch} if adversary else {}
        figures |= {"l2": 0.1 / epoch, "pixel_error": 30 / epoch} if paired else {}
    losses = {"generators": 9.0, "cycle": 1 / epoch, "identity": 2 / epoch}
    return {"epoch": epoch, "losses": losses, "training": measured, "validation": measured}


@pytest.mark.parametrize(
    ("paired", "adversary", "titles"),
    [
        (False, True, ["losses", "feedback of the discriminators"]),
        (True, True, ["losses", "feedback of the discriminators", "L2 to the partner", "pixel error"]),
        (False, False, ["losses"]),
    ],
)
def test_the_plot_has_a_panel_for_what_there_is(paired: bool, adversary: bool, titles: list[str]) -> None:
    rows = [row(epoch, paired=paired, adversary=adversary) for epoch in (1, 2, 3)]
    root = ElementTree.fromstring(curves_svg(rows))
    texts = [(t.get("class"), t.text) for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert [words for kind, words in texts if kind == "title"] == titles
    assert ("source to target, validation" in {words for _, words in texts}) == (len(titles) > 1)


def test_a_curve_stands_at_its_values() -> None:
    root = ElementTree.fromstring(curves_svg([row(1), row(2)]))
    lines = [e.get("points") for e in root.iter("{http://www.w3.org/2000/svg}polyline")]
    points = [tuple(map(float, point.split(","))) for point in (lines[0] or "").split()]  # cycle: 1, then 0.5
    (left, high), (right, low) = points
    frame = next(r for r in root.iter("{http://www.w3.org/2000/svg}rect") if r.get("class") == "frame")
    x, y, width, height = (float(frame.get(key) or 0) for key in ("x", "y", "width", "height"))
    assert (left, right) == (pytest.approx(x + width / 2), pytest.approx(x + width))
    assert (high, low) == (pytest.approx(y + height / 2), pytest.approx(y + 0.75 * height))  # of 0 to 2


def test_one_epoch_or_a_value_that_is_missing_makes_a_plot() -> None:
    ElementTree.fromstring(curves_svg([row(1)]))
    ElementTree.fromstring(curves_svg([{**row(1), "validation": {}}, row(2)]))
    ElementTree.fromstring(curves_svg([]))


def test_sheets_are_few_of_any_number_of_epochs() -> None:
    assert [e for e in range(1, 301) if has_sheet(e)] == [*range(1, 11), *range(20, 101, 10), 200, 300]
    assert sheet_name(7) == "epoch_00007.png"


@given(st.integers(1, 10**6))
def test_whether_an_epoch_has_a_sheet_is_that_it_has_one_digit_and_zeros(epoch: int) -> None:
    assert has_sheet(epoch) == (len(str(epoch).rstrip("0")) <= 1)


def test_columns_stand_side_by_side_with_gaps() -> None:
    columns = [np.full((n, 2, 2, 3), grey, np.uint8) for n, grey in ((2, 10), (2, 20), (1, 30), (1, 40))]
    page = sheet(columns)
    assert page.shape == (2 * 2 + 4, 4 * 2 + 4 + 8 + 4, 3)
    assert [page[0, x, 0] for x in (0, 6, 16, 22)] == [10, 20, 30, 40]
    assert [page[6, x, 0] for x in (0, 6, 16, 22)] == [10, 20, 255, 255]
    assert page[0, 2, 0] == page[2, 0, 0] == 255
