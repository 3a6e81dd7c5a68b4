"""Rank correlation, curves and bins: closed forms, and brute-force twins."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.quality.calibration_record import curve_shares
from pipeline.quality.uncertainty_figures import (
    average_ranks,
    error_bins,
    kept_curve,
    mean_gain,
    pooled_gain,
    pooled_quality,
    spearman,
)

few_values = st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0])  # few: many ties


def brute_ranks(values: list[float]) -> list[float]:
    """The mean of the places, from 1, that a value and those equal to it take in the sorted list."""
    ordered = sorted(values)
    return [
        sum(place for place, other in enumerate(ordered, 1) if other == value) / ordered.count(value)
        for value in values
    ]


def brute_spearman(one: list[float], other: list[float]) -> float | None:
    """Pearson's correlation of the ranks, by its definition."""
    a, b = brute_ranks(one), brute_ranks(other)
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    covariance = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    squares = sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)
    return covariance / math.sqrt(squares) if squares else None


@given(st.lists(st.tuples(few_values, few_values), min_size=1, max_size=30))
def test_spearman_is_pearsons_correlation_of_the_average_ranks(pairs: list[tuple[float, float]]) -> None:
    one, other = (list(values) for values in zip(*pairs, strict=True))
    assert average_ranks(np.array(one)).tolist() == pytest.approx(brute_ranks(one))
    found, expected = spearman(np.array(one), np.array(other)), brute_spearman(one, other)
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-12))


def test_without_ties_it_is_one_minus_six_sums_of_squared_rank_distances() -> None:
    one, other = np.array([3.0, 1.0, 4.0, 1.5, 9.0]), np.array([2.0, 7.0, 1.0, 8.0, 2.8])
    distance = np.argsort(np.argsort(one)) - np.argsort(np.argsort(other))
    assert spearman(one, other) == pytest.approx(1 - 6 * (distance**2).sum() / (5 * 24))


@pytest.mark.parametrize(
    ("error", "rho"),
    [
        ([0.0, 0.1, 0.2, 0.9], 1.0),  # in the order of the uncertainty
        ([0.9, 0.2, 0.1, 0.0], -1.0),  # in the reverse order
        ([0.3, 0.3, 0.3, 0.3], None),  # constant
    ],
)
def test_spearman_of_ordered_reversed_and_constant_errors(error: list[float], rho: float | None) -> None:
    found = spearman(np.array([1.0, 10.0, 11.0, 5000.0]), np.array(error))
    assert found == rho


def test_what_is_not_finite_counts_as_the_most_uncertain() -> None:
    assert spearman(np.array([1.0, math.nan, 2.0]), np.array([1.0, 3.0, 2.0])) == 1.0


parts = st.lists(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 4)).map(lambda pair: (min(pair), max(pair))),
        min_size=3,
        max_size=3,
    ),
    min_size=1,
    max_size=12,
)


def brute_quality(images: list[list[tuple[int, int]]], classes: set[int] | None = None) -> float:
    shares = []
    for k in range(3):
        inside, whole = (sum(image[k][i] for image in images) for i in range(2))
        if whole and (classes is None or k in classes):
            shares.append(inside / whole)
    return sum(shares) / len(shares) if shares else math.nan


@given(parts, st.data())
def test_the_curve_is_the_pooled_quality_of_the_images_that_the_filter_keeps(
    images: list[list[tuple[int, int]]], data: st.DataObject
) -> None:
    values = data.draw(st.lists(few_values, min_size=len(images), max_size=len(images)))
    shares = curve_shares(len(images))
    curve = kept_curve(np.array(values), np.array(images), shares)
    ranked = sorted(range(len(images)), key=lambda i: (values[i], i))
    for share, point in zip(shares, curve, strict=True):
        kept = [images[i] for i in ranked[: math.ceil(Fraction(share) * len(images))]]
        shown = {k for k in range(3) if any(image[k][1] for image in kept)}
        quality, gain = brute_quality(kept), brute_quality(kept) - brute_quality(images, shown)
        assert point.keep == share and point.images == len(kept)
        assert point.quality == pytest.approx(0.0 if math.isnan(quality) else quality)
        assert point.gain == pytest.approx(0.0 if math.isnan(gain) else gain)


def test_the_only_image_of_a_hard_class_gains_nothing_by_being_dropped() -> None:
    easy, hard = [[9, 10], [0, 0]], [[9, 10], [0, 10]]
    everything = np.array([easy, hard]).sum(0)
    assert pooled_quality(everything) == pytest.approx(0.45)
    assert pooled_quality(np.array(easy)) == pytest.approx(0.9)
    assert pooled_gain(np.array(easy), everything) == pytest.approx(0.0)


def test_shares_reach_from_a_half_to_all_in_twentieths_and_with_many_images_in_hundredths() -> None:
    assert curve_shares(16) == (
        "0.5",
        "0.55",
        "0.6",
        "0.65",
        "0.7",
        "0.75",
        "0.8",
        "0.85",
        "0.9",
        "0.95",
        "1",
    )
    assert len(curve_shares(100)) == 51 and {"0.5", "0.57", "0.99", "1"} <= set(curve_shares(100))


def test_the_mean_gain_of_an_order_by_error_is_the_largest() -> None:
    images = np.array([[[i, 20]] for i in range(20)])
    orders = [np.arange(20.0), -np.arange(20.0), np.random.default_rng(0).normal(size=20)]
    reverse, best, chance = (mean_gain(kept_curve(order, images, curve_shares(20))) for order in orders)
    assert reverse < chance < best and best == pytest.approx(-reverse)


def test_bins_hold_equally_many_images_in_the_order_of_their_uncertainty() -> None:
    values = np.array([5.0, 1.0, math.nan, 3.0, 2.0, 6.0, 4.0])
    low, high = error_bins(values, values * 10)
    assert (low.images, low.uncertainty, low.error) == (3, 2.0, 20.0)
    assert (high.images, high.uncertainty, high.error) == (3, 5.0, 50.0)
