"""The expected calibration error of predictors whose error is known, and against its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.quality.reliability import Reliability

PIXELS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


def measured(confidence: object, right: object, num_bins: int = 15) -> Reliability:
    found = Reliability(num_bins)
    found.add(np.asarray(confidence), np.asarray(right, bool))
    return found


def test_a_predictor_that_is_right_as_often_as_it_says_has_no_error() -> None:
    confidence = np.repeat([0.25, 0.5, 0.75, 1.0], 100)
    right = np.concatenate([np.arange(100) < 100 * part for part in (0.25, 0.5, 0.75, 1.0)])
    found = measured(confidence, right)
    assert found.expected_error() == 0
    np.testing.assert_array_equal(found.accuracy, found.confidence)


def test_a_predictor_that_is_certain_and_half_right_is_wrong_by_a_half() -> None:
    found = measured(np.ones(10), np.arange(10) < 5)
    assert found.expected_error() == 0.5
    assert found.pixels.tolist() == [0] * 14 + [10]


def test_two_bins_count_by_their_pixels() -> None:
    """30 pixels at 0.5 that are all wrong, 10 at 1.0 that are all right: 3/4 x 0.5."""
    found = measured([0.5] * 30 + [1.0] * 10, [False] * 30 + [True] * 10)
    assert found.expected_error() == pytest.approx(0.375)


def test_a_bin_holds_its_upper_edge_and_not_its_lower_one() -> None:
    found = measured([0.0, 0.25, 0.5, 0.75, 1.0, np.nextafter(0.5, 1)], [True] * 6, num_bins=4)
    assert found.pixels.tolist() == [2, 1, 2, 1]
    assert found.edges.tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_nothing_has_no_error() -> None:
    found = Reliability()
    assert math.isnan(found.expected_error()) and np.isnan(found.accuracy).all()


@given(PIXELS, st.integers(1, 20))
def test_the_error_is_that_of_its_definition(pixels: list[tuple[float, bool]], num_bins: int) -> None:
    bins: dict[int, list[tuple[float, bool]]] = {}
    for confidence, right in pixels:
        bins.setdefault(max(1, math.ceil(confidence * num_bins)), []).append((confidence, right))
    error = 0.0
    for held in bins.values():
        accuracy = sum(right for _, right in held) / len(held)
        error += len(held) / len(pixels) * abs(accuracy - sum(c for c, _ in held) / len(held))
    confidences, right = zip(*pixels, strict=True)
    assert measured(confidences, right, num_bins).expected_error() == pytest.approx(error, abs=1e-12)


@given(PIXELS, st.integers(0, 60))
def test_parts_one_after_another_are_the_whole_at_once(pixels: list[tuple[float, bool]], cut: int) -> None:
    confidence, right = (np.array(side) for side in zip(*pixels, strict=True))
    parts = Reliability()
    for part in (slice(None, cut), slice(cut, None)):
        parts.add(confidence[part], right[part].astype(bool))
    whole = measured(confidence, right)
    np.testing.assert_array_equal(parts.pixels, whole.pixels)
    np.testing.assert_array_equal(parts.accuracy, whole.accuracy)
    assert parts.expected_error() == pytest.approx(whole.expected_error(), abs=1e-12)
