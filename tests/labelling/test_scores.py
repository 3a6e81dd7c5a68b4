"""Scores of images and the keep rule, each against a brute-force twin."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pipeline.labelling.scores import keep_mask, score_images


def image_score(divergence: Tensor, score: str = "top10") -> float:
    return float(score_images(divergence[None], score))


@given(st.integers(1, 300), st.integers(0, 10**6))
def test_scores_are_the_mean_of_the_top_tenth_the_mean_and_the_sum(pixels: int, seed: int) -> None:
    divergence = torch.rand(pixels, 1, generator=torch.Generator().manual_seed(seed))
    values = sorted(divergence.flatten().tolist(), reverse=True)
    top = values[: max(1, pixels // 10)]
    assert image_score(divergence) == pytest.approx(sum(top) / len(top))
    assert image_score(divergence, "mean") == pytest.approx(sum(values) / pixels)
    assert image_score(divergence, "sum") == pytest.approx(sum(values))


def test_an_image_with_a_nan_has_a_nan_score() -> None:
    divergence = torch.zeros(10, 10)
    divergence[4, 7] = math.nan
    assert all(math.isnan(image_score(divergence, score)) for score in ("top10", "mean", "sum"))


def test_unknown_scores_and_empty_maps_are_refused() -> None:
    with pytest.raises(ValueError, match="top10, mean, sum"):
        image_score(torch.zeros(2, 2), "top20")
    with pytest.raises(ValueError, match="empty"):
        image_score(torch.zeros(0, 4))


score_values = st.sampled_from([0.0, 0.25, 0.5, 1.0, math.nan, math.inf, -math.inf])  # few: many ties
keeps = st.integers(0, 1000).map(lambda thousandths: Fraction(thousandths, 1000))


@given(st.lists(score_values, max_size=60), keeps)
def test_as_many_as_asked_are_kept_of_the_finite_ones_and_none_dropped_is_better(
    scores: list[float], keep: Fraction
) -> None:
    kept, threshold = keep_mask(np.array(scores), keep)
    ranks = sorted((score, i) for i, score in enumerate(scores) if math.isfinite(score))
    asked = -(-keep.numerator * len(scores) // keep.denominator)
    best = ranks[:asked]
    assert sorted(np.flatnonzero(kept)) == sorted(i for _, i in best)
    assert threshold == (max(best)[0] if best else None)


def test_an_image_that_is_not_finite_is_dropped_even_where_all_are_kept() -> None:
    kept, threshold = keep_mask(np.array([0.5, math.nan, 0.25, math.inf], np.float32), Fraction(1))
    assert kept.tolist() == [True, False, True, False] and threshold == 0.5


@pytest.mark.parametrize(
    ("num", "keep", "expected"),
    [
        (100, "0.07", 7),  # ceil(100 * 0.07) is 8 in floating point
        (10, "0.9", 9),
        (1, "0.9", 1),  # the released slice is empty for a few images
        (3, "0.9", 3),
        (1000, "0.9", 900),
        (5, "1", 5),
        (0, "0.9", 0),
        (7, "0.001", 1),
    ],
)
def test_keep_counts(num: int, keep: str, expected: int) -> None:
    kept, _ = keep_mask(np.arange(num)[::-1].astype(float), Fraction(keep))
    assert kept.sum() == expected
    assert kept[num - expected :].all()  # the scores fall with the index: the last are the best


@pytest.mark.parametrize("keep", [Fraction(-1, 10), Fraction(11, 10)])
def test_fractions_outside_0_to_1_are_refused(keep: Fraction) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        keep_mask(np.zeros(3), keep)
