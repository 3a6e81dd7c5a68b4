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

from fstore.image_scores import image_score as numpy_score
from fstore.meta import SCORES
from pipeline.labelling.scores import (
    boundary_width,
    keep_mask,
    keep_mask_per_class,
    near_boundary,
    score_images,
)


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


# --- the scores that know the labels ---


def labelled_image(
    height: int, width: int, num_classes: int, seed: int, cell: int = 1
) -> tuple[Tensor, Tensor]:
    """Divergence [H, W] float32 and labels [H, W] int64 in squares of ``cell`` pixels."""
    stream = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, num_classes, (-(-height // cell), -(-width // cell)), generator=stream)
    labels = labels.repeat_interleave(cell, 0).repeat_interleave(cell, 1)[:height, :width]
    return torch.rand(height, width, generator=stream), labels


def score_of(divergence: Tensor, labels: Tensor, score: str) -> float:
    return float(score_images(divergence[None], score, labels[None]))


sides = st.integers(1, 9)


@given(sides, sides, st.integers(1, 5), st.integers(0, 10**6))
def test_class_mean_is_the_mean_of_the_means_of_the_classes_that_are_shown(
    height: int, width: int, num_classes: int, seed: int
) -> None:
    divergence, labels = labelled_image(height, width, num_classes, seed)
    of_class: dict[int, list[float]] = {}
    for value, label in zip(divergence.flatten().tolist(), labels.flatten().tolist(), strict=True):
        of_class.setdefault(label, []).append(value)
    means = [sum(values) / len(values) for values in of_class.values()]
    assert score_of(divergence, labels, "class-mean") == pytest.approx(sum(means) / len(means))


def test_a_class_of_one_pixel_weighs_as_much_as_all_the_others() -> None:
    divergence, labels = torch.zeros(8, 8), torch.zeros(8, 8, dtype=torch.uint8)
    divergence[3, 3], labels[3, 3] = 1.0, 7
    assert score_of(divergence, labels, "class-mean") == 0.5
    assert score_of(divergence, labels, "mean") == 1 / 64


def brute_near(labels: list[list[int]], width: int) -> list[list[bool]]:
    height, columns = len(labels), len(labels[0])
    return [
        [
            any(
                labels[y][x] != labels[row][column]
                for y in range(max(0, row - width), min(height, row + width + 1))
                for x in range(max(0, column - width), min(columns, column + width + 1))
            )
            for column in range(columns)
        ]
        for row in range(height)
    ]


@given(sides, sides, st.integers(1, 3), st.integers(1, 4), st.integers(0, 10**6), st.integers(1, 12))
def test_near_a_boundary_is_where_the_square_around_holds_another_label(
    height: int, width: int, num_classes: int, cell: int, seed: int, reach: int
) -> None:
    _, labels = labelled_image(height, width, num_classes, seed, cell)
    assert near_boundary(labels, reach).tolist() == brute_near(labels.tolist(), reach)


@given(sides, sides, st.integers(1, 3), st.integers(1, 9), st.integers(0, 10**6))
def test_interior_is_the_top_tenth_away_from_boundaries_or_of_all_where_nothing_is(
    height: int, width: int, num_classes: int, cell: int, seed: int
) -> None:
    divergence, labels = labelled_image(height, width, num_classes, seed, cell)
    near = brute_near(labels.tolist(), 1)
    pairs = zip(divergence.flatten().tolist(), [n for row in near for n in row], strict=True)
    inside = [value for value, is_near in pairs if not is_near] or divergence.flatten().tolist()
    top = sorted(inside, reverse=True)[: max(1, len(inside) // 10)]
    assert score_of(divergence, labels, "interior") == pytest.approx(sum(top) / len(top))


@pytest.mark.parametrize(
    ("shape", "width"),
    [((64, 64), 1), ((128, 128), 1), ((8, 5), 1), ((255, 10), 1), ((512, 512), 4), ((384, 512), 4)],
)
def test_a_boundary_is_as_wide_on_each_side_as_a_part_of_the_larger_side(
    shape: tuple[int, int], width: int
) -> None:
    labels = torch.zeros(shape, dtype=torch.uint8)
    labels[:, shape[1] // 2 :] = 1
    assert boundary_width(shape) == width
    columns = near_boundary(labels, width).any(0)
    assert columns.sum() == 2 * width and columns[shape[1] // 2 - width : shape[1] // 2 + width].all()
    assert near_boundary(labels, width).all(0).equal(columns)


def test_an_image_of_nothing_but_boundaries_is_scored_by_all_its_pixels() -> None:
    labels = torch.arange(64).reshape(8, 8) % 2
    divergence = torch.arange(64.0).reshape(8, 8)
    assert near_boundary(labels, 1).all()
    assert score_of(divergence, labels, "interior") == np.mean([58, 59, 60, 61, 62, 63])


def test_doubt_at_boundaries_alone_is_left_out() -> None:
    labels = torch.zeros(20, 20, dtype=torch.uint8)
    labels[10:] = 1
    divergence = torch.full((20, 20), 0.25)
    divergence[9:11] = 1.0
    assert score_of(divergence, labels, "top10") == 1.0
    assert score_of(divergence, labels, "interior") == 0.25


@pytest.mark.parametrize("score", ["class-mean", "interior"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint16])
def test_more_than_256_classes_are_told_apart_in_every_dtype(score: str, dtype: torch.dtype) -> None:
    divergence, labels = labelled_image(32, 32, 300, 0, cell=4)
    wide = labels.clone()
    wide[wide == 299], wide[wide == 298] = 65535, 65534  # neighbours that a float16 does not tell apart
    expected = numpy_score(divergence.numpy(), wide.numpy(), score)
    assert score_of(divergence, wide.to(dtype), score) == pytest.approx(expected)
    assert score_of(divergence, labels.to(dtype), score) == pytest.approx(expected)


@pytest.mark.parametrize("score", ["class-mean", "interior"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("column", [0, 3, 7])  # inside, and at the boundary, which `interior` leaves out
def test_a_value_that_is_not_finite_anywhere_gives_no_score(score: str, value: float, column: int) -> None:
    labels = torch.zeros(1, 8, 8, dtype=torch.uint8)
    labels[..., 4:] = 1
    divergence = torch.rand(2, 8, 8)
    divergence[1, 2, column] = value
    scores = score_images(divergence, score, labels.expand(2, 8, 8))
    assert scores.isfinite().tolist() == [True, False] and scores[1].isnan()


@pytest.mark.parametrize("labels", [None, torch.zeros(1, 4, 4, dtype=torch.uint8)])
def test_labels_that_are_missing_or_of_another_shape_are_refused(labels: Tensor | None) -> None:
    with pytest.raises(ValueError, match=r"score interior needs labels \(1, 4, 5\), found"):
        score_images(torch.zeros(1, 4, 5), "interior", labels)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 6), st.integers(0, 10**6))
def test_numpy_scores_an_image_as_torch_does(height: int, width: int, num_classes: int, seed: int) -> None:
    divergence, labels = labelled_image(height, width, num_classes, seed, cell=5)
    stored = divergence.half()
    for score in SCORES:
        expected = numpy_score(stored.numpy(), labels.to(torch.uint8).numpy(), score)
        assert score_of(stored.float(), labels, score) == pytest.approx(expected, rel=1e-12)


# --- what is kept ---

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


# --- per class ---

some_scores = st.lists(score_values, max_size=40)


def shown_at_random(num: int, seed: int) -> np.ndarray:
    """(N, 4) bool: a class that most images show, rarer ones, and one that none does."""
    return np.random.default_rng(seed).random((num, 4)) < np.array([0.9, 0.3, 0.1, 0.0])


@given(some_scores, keeps, st.integers(0, 2**32))
def test_per_class_keeps_the_least_uncertain_of_all_and_of_each_class(
    scores: list[float], keep: Fraction, seed: int
) -> None:
    shown = shown_at_random(len(scores), seed)
    kept, threshold = keep_mask_per_class(np.array(scores), keep, shown)
    ranked = [i for _, i in sorted((score, i) for i, score in enumerate(scores) if math.isfinite(score))]
    expected = set(ranked[: -(-keep.numerator * len(scores) // keep.denominator)])
    for images in shown.T:
        of_class = [i for i in ranked if images[i]]
        expected |= set(of_class[: -(-keep.numerator * len(of_class) // keep.denominator)])
    assert set(np.flatnonzero(kept)) == expected
    assert threshold == (max(scores[i] for i in expected) if expected else None)


@given(some_scores, keeps, st.integers(0, 2**32))
def test_per_class_keeps_what_the_plain_rule_does_and_the_share_of_every_class(
    scores: list[float], keep: Fraction, seed: int
) -> None:
    values, shown = np.array(scores), shown_at_random(len(scores), seed)
    plain, _ = keep_mask(values, keep)
    kept, _ = keep_mask_per_class(values, keep, shown)
    assert (kept | ~plain).all()
    for images in shown.T:
        finite = images & np.isfinite(values)
        assert (kept & finite).sum() >= keep * int(finite.sum())


@given(some_scores, keeps, st.booleans())
def test_per_class_is_the_plain_rule_where_every_image_shows_every_class_or_none_does(
    scores: list[float], keep: Fraction, every: bool
) -> None:
    values, shown = np.array(scores), np.full((len(scores), 3), every)
    plain, threshold = keep_mask(values, keep)
    kept, found = keep_mask_per_class(values, keep, shown)
    assert kept.tolist() == plain.tolist() and found == threshold


def test_a_class_spread_evenly_over_the_scores_adds_nothing() -> None:
    values = np.arange(100.0)
    shown = (np.arange(100) % 10 == 0)[:, None]  # one of every ten neighbours
    for tenths in range(1, 11):
        keep = Fraction(tenths, 10)
        assert (keep_mask_per_class(values, keep, shown)[0] == keep_mask(values, keep)[0]).all()


def test_a_rare_class_of_uncertain_images_is_saved() -> None:
    values, shown = np.arange(10.0), np.zeros((10, 1), bool)
    shown[[8, 9]] = True
    kept, threshold = keep_mask_per_class(values, Fraction("0.5"), shown)
    assert np.flatnonzero(kept).tolist() == [0, 1, 2, 3, 4, 8] and threshold == 8
