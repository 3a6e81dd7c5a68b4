"""Drawing shapes: against point-in-polygon, arithmetic at pixel centres, and run lengths decoded naively."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from pipeline.errors import UsageError
from pipeline.inputs.annotations.raster import shapes

SIZE = (14, 19)  # height, width: not equal, so that an exchange shows
COORDINATE = st.floats(-6, 24, allow_nan=False)
POINT = st.tuples(COORDINATE, COORDINATE)


def inside_by_rays(x: float, y: float, points: list[tuple[float, float]]) -> bool:
    """Even-odd: whether a ray to the right of (x, y) crosses the closed polygon an odd number of times."""
    odd = False
    for (ax, ay), (bx, by) in zip(points, points[1:] + points[:1], strict=True):
        if (ay > y) != (by > y) and x < ax + (y - ay) / (by - ay) * (bx - ax):
            odd = not odd
    return odd


def distance_to_edges(x: float, y: float, points: list[tuple[float, float]]) -> float:
    nearest = np.inf
    for a, b in zip(points, points[1:] + points[:1], strict=True):
        edge, offset = np.subtract(b, a), np.subtract((x, y), a)
        along = np.clip(offset @ edge / max(edge @ edge, 1e-12), 0, 1)
        nearest = min(nearest, float(np.hypot(*(offset - along * edge))))
    return nearest


@given(st.lists(POINT, min_size=3, max_size=7))
def test_a_polygon_holds_the_pixels_whose_centres_it_encloses(points: list[tuple[float, float]]) -> None:
    drawn = shapes.polygon(np.array(points), SIZE)
    assert drawn.shape == SIZE
    for row, column in np.ndindex(SIZE):
        center = column + 0.5, row + 0.5
        if distance_to_edges(*center, points) > 0.35:  # snapping to fifths of a pixel moves edges by less
            assert drawn[row, column] == inside_by_rays(*center, points)


@pytest.mark.parametrize("order", [1, -1])
def test_a_polygon_on_pixel_corners_is_exact_in_either_direction(order: int) -> None:
    points = np.array([[2, 3], [10, 3], [10, 8], [2, 8]][::order], float)
    expected = np.zeros(SIZE, bool)
    expected[3:8, 2:10] = True
    np.testing.assert_array_equal(shapes.polygon(points, SIZE), expected)
    np.testing.assert_array_equal(shapes.rectangle(points, SIZE), expected)


@given(POINT, POINT)
def test_a_rectangle_holds_the_centres_between_any_two_corners(a: Any, b: Any) -> None:
    drawn = shapes.rectangle(np.array([a, b]), SIZE)
    (left, right), (top, bottom) = sorted([a[0], b[0]]), sorted([a[1], b[1]])
    for row, column in np.ndindex(SIZE):
        assert drawn[row, column] == (left <= column + 0.5 < right and top <= row + 0.5 < bottom)


def test_a_circle_holds_the_centres_within_its_radius() -> None:
    drawn = shapes.circle(np.array([9.0, 6.0]), 4.2, SIZE)
    for row, column in np.ndindex(SIZE):
        assert drawn[row, column] == (np.hypot(column + 0.5 - 9, row + 0.5 - 6) <= 4.2)
    assert abs(drawn.sum() - np.pi * 4.2**2) < 4


def naive_runs(mask: np.ndarray[Any, Any]) -> list[int]:
    """Lengths of the runs down the columns, of 0 first."""
    runs, current = [0], False
    for value in mask.T.ravel():
        if value != current:
            runs.append(0)
            current = not current
        runs[-1] += 1
    return runs


MASKS = st.integers(0, 2**32 - 1).map(
    lambda seed: np.kron(np.random.default_rng(seed).random((7, 19)) < 0.5, np.ones((2, 1))).astype(np.uint8)
)


@given(MASKS)
def test_both_kinds_of_run_length_code_are_decoded(mask: np.ndarray[Any, Any]) -> None:
    np.testing.assert_array_equal(shapes.run_lengths(naive_runs(mask), SIZE, "x"), mask)
    text = coco_mask.encode(np.asfortranarray(mask))["counts"].decode("ascii")  # the library's own encoder
    np.testing.assert_array_equal(shapes.run_lengths(text, SIZE, "x"), mask)


def test_a_large_mask_with_long_runs_is_decoded() -> None:
    mask = np.zeros((3000, 1000), np.uint8)
    mask[100:2900, 3:990] = 1
    text = coco_mask.encode(np.asfortranarray(mask))["counts"].decode("ascii")
    np.testing.assert_array_equal(shapes.run_lengths(text, mask.shape, "x"), mask)


@pytest.mark.parametrize(
    ("counts", "part"),
    [
        ([10], "cover 10 pixels; expected 266"),  # the library leaves the rest of the mask uninitialised
        ([300], "cover 300 pixels"),
        ([-4, 270], "run lengths"),
        ([266.0], "run lengths"),
        ([True, 265], "run lengths"),
        (["266"], "run lengths"),
        (None, "None"),
        ({}, "run lengths"),
        ([2**40], "cover 1099511627776"),
        ([], "cover 0"),
        ("", "cover 0"),
        ("P", "truncated"),  # a number that goes on, and ends: the library reads on past it
        ("ooooooooooooooooooooooo0", "no compressed"),
        ("é", "no compressed"),
        ("0 1", "no compressed"),
        ("O0", "run lengths"),  # -1
    ],
)
def test_a_wrong_code_is_refused_before_it_is_decoded(counts: Any, part: str) -> None:
    with pytest.raises(UsageError) as caught:
        shapes.run_lengths(counts, SIZE, "annotation 3")
    assert str(caught.value).startswith("annotation 3: ") and part in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=[chr(c) for c in range(45, 115)], max_size=12))
def test_any_text_is_decoded_whole_or_refused(text: str) -> None:
    try:
        assert shapes.run_lengths(text, (2, 3), "x").shape == (2, 3)
    except UsageError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ([[1, 2], [3, float("nan")], [5, 6]], "not finite"),
        ([1, 2, 3, float("inf"), 5, 6], "not finite"),
        ([1, 2, 3, 4, 5], "expected numbers"),
        ([[1, 2], [3]], "expected numbers"),
        ("abc", "expected numbers"),
        ([[1, 2], [3, "x"]], "expected numbers"),
        ([[1, 2], [3, {}]], "expected numbers"),
        (None, "not finite|expected numbers"),
        ([0, 0, 1e9, 0, 1e9, 1e9], "far outside the image of 19 x 14"),  # would take gigabytes
        ([0, 0, -30, 0, 1, 1], "far outside"),
        ([0, 0, 10**400, 0, 1, 1], "expected numbers"),
    ],
)
def test_wrong_points_are_refused(value: Any, part: str) -> None:
    with pytest.raises(UsageError, match=part) as caught:
        shapes.points_of(value, SIZE, "shape 1")
    assert str(caught.value).startswith("shape 1: ")


def test_the_later_or_the_earlier_of_two_shapes_is_seen() -> None:
    first, second = np.zeros((2, 3), bool), np.zeros((2, 3), bool)
    first[:, :2], second[:, 1:] = True, True
    for overlap, middle in (("later", 2), ("earlier", 1)):
        drawn = shapes.paint(shapes.in_order([(1, first), (2, second)], overlap), (2, 3))
        assert drawn.tolist() == [[1, middle, 2]] * 2
