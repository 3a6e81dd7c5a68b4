"""Boundary IoU of squares that can be counted by hand, and against every pair of pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from torch import Tensor

from pipeline.quality.boundary import BoundaryCounts, default_distance, inner_boundary

SHAPE = (7, 9)
LABELS = arrays("uint8", SHAPE, elements=st.integers(0, 2))


def boundary_iou(truth: Tensor, predicted: Tensor, distance: int, known: Tensor | None = None) -> list[float]:
    counts = BoundaryCounts(3, distance)
    counts.add(truth, predicted, torch.ones_like(truth, dtype=torch.bool) if known is None else known)
    return counts.class_iou().tolist()


def square(row: int, column: int, side: int) -> Tensor:
    labels = torch.zeros(24, 24, dtype=torch.uint8)
    labels[row : row + side, column : column + side] = 1
    return labels


def brute_boundary(labels: NDArray[np.uint8], known: NDArray[np.bool_], distance: int) -> NDArray[np.bool_]:
    """By its definition, for each pixel all pixels of its square."""
    height, width = labels.shape
    found = np.zeros(labels.shape, bool)
    for i in range(height):
        for j in range(width):
            around = [
                (y, x)
                for y in range(i - distance, i + distance + 1)
                for x in range(j - distance, j + distance + 1)
            ]
            found[i, j] = known[i, j] and any(
                not (0 <= y < height and 0 <= x < width) or (known[y, x] and labels[y, x] != labels[i, j])
                for y, x in around
            )
    return found


@given(LABELS, arrays("bool", SHAPE), st.integers(1, 6))
def test_the_inner_boundary_is_that_of_its_definition(labels: object, known: object, distance: int) -> None:
    expected = brute_boundary(labels, known, distance)
    found = inner_boundary(torch.from_numpy(labels), torch.from_numpy(known), distance)
    np.testing.assert_array_equal(found.numpy(), expected)


@given(LABELS, LABELS, arrays("bool", SHAPE), st.integers(1, 3))
def test_boundary_iou_is_that_of_sets_of_pixels(
    truth: object, predicted: object, known: object, distance: int
) -> None:
    sides = [(each, brute_boundary(each, known, distance)) for each in (truth, predicted)]
    found = boundary_iou(
        torch.from_numpy(truth), torch.from_numpy(predicted), distance, torch.from_numpy(known)
    )
    for k in range(3):
        true_set, set_found = (set(map(tuple, np.argwhere(rim & (each == k)))) for each, rim in sides)
        union = true_set | set_found
        assert found[k] == len(true_set & set_found) / len(union) if union else math.isnan(found[k])


@given(LABELS, LABELS, arrays("bool", SHAPE), st.integers(1, 3))
def test_what_is_predicted_on_unknown_pixels_changes_nothing(
    truth: object, predicted: object, known: object, distance: int
) -> None:
    sides = torch.from_numpy(truth), torch.from_numpy(predicted)
    seen = torch.from_numpy(known)
    other = torch.where(seen, sides[1], 2 - sides[1])
    np.testing.assert_equal(
        boundary_iou(sides[0], other, distance, seen), boundary_iou(*sides, distance, seen)
    )


def test_the_rim_of_a_square_is_a_frame() -> None:
    rim = inner_boundary(square(6, 6, 8), torch.ones(24, 24, dtype=torch.bool), 2)
    inside = rim[6:14, 6:14]
    assert inside.sum() == 8 * 8 - 4 * 4 and not inside[2:6, 2:6].any()


def test_two_squares_that_half_overlap() -> None:
    """Frames of width 1 of 8 x 8 squares, 4 columns apart: 28 pixels each; rows 0 and 7 share 4 each."""
    truth, predicted = square(6, 4, 8), square(6, 8, 8)
    assert boundary_iou(truth, predicted, 1)[1] == 8 / (28 + 28 - 8)


def test_a_wide_rim_is_the_whole_square_and_boundary_iou_is_iou() -> None:
    assert boundary_iou(square(6, 4, 8), square(6, 8, 8), 4)[1] == 1 / 3


def test_counts_are_summed_over_images_before_they_are_divided() -> None:
    counts = BoundaryCounts(2, 1)
    known = torch.ones(24, 24, dtype=torch.bool)
    counts.add(square(6, 4, 8), square(6, 4, 8), known)
    counts.add(square(6, 4, 4), square(6, 12, 4), known)
    assert counts.class_iou()[1] == 28 / (28 + 12 + 12)


def test_a_class_that_occurs_nowhere_has_no_figure() -> None:
    found = boundary_iou(square(6, 4, 8), square(6, 4, 8), 1)
    assert found[:2] == [1, 1] and math.isnan(found[2])


@pytest.mark.parametrize(
    ("size", "expected"), [((64, 64), 2), ((512, 512), 14), ((480, 640), 16), ((8, 8), 1)]
)
def test_the_default_width_is_a_fiftieth_of_the_diagonal(size: tuple[int, int], expected: int) -> None:
    assert default_distance(*size) == expected
