"""Cross-validation over epochs: against the released protocol, written out with loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.segment.testing.folds import (
    blocks,
    choose,
    cross_validate,
    fold_size,
    mean_and_deviation,
    released_miou,
)

Labels = list[np.ndarray]


def released_protocol(truth: Labels, predicted: list[Labels], num_classes: int) -> list[tuple[int, float]]:
    """(epoch, mIoU of the rest) of each of five folds: every epoch is scored anew on each fold, picture after
    picture and class after class.
    """

    def miou(places: list[int], epoch: int) -> float:
        shares = []
        for label in range(num_classes):
            intersection = union = 0
            for place in places:
                true, found = truth[place] == label, predicted[epoch][place] == label
                intersection += int((true & found).sum())
                union += int((true | found).sum())
            shares.append(intersection / (1e-8 + union))
        return float(np.array(shares).mean())

    size, results = len(truth) // 5, []
    for fold in range(5):
        validation = list(range(size * fold, size * fold + size))
        rest = [place for place in range(len(truth)) if place not in validation]
        best, chosen, score = 0.0, 0, math.nan
        for epoch in range(len(predicted)):
            value = miou(validation, epoch)
            if value > best:
                best, chosen, score = value, epoch, miou(rest, epoch)
        results.append((chosen, score))
    return results


def sums_of(truth: Labels, predicted: list[Labels], num_classes: int, folds: int) -> np.ndarray:
    """[E, F + 1, K, K] with a loop over pixels."""
    block = blocks(len(truth), folds)
    sums = np.zeros((len(predicted), folds + 1, num_classes, num_classes), np.int64)
    for epoch, pictures in enumerate(predicted):
        for place, picture in enumerate(pictures):
            for true, found in zip(truth[place].ravel().tolist(), picture.ravel().tolist(), strict=True):
                sums[epoch, block[place], true, found] += 1
    return sums


@given(st.integers(5, 13), st.integers(1, 4), st.integers(2, 4), st.floats(0.3, 1), st.integers(0, 2**32 - 1))
def test_folds_score_as_the_released_loops_do(
    num_pictures: int, num_epochs: int, num_classes: int, share: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    truth = [rng.integers(0, num_classes, (2, 3)) for _ in range(num_pictures)]
    predicted = [
        [np.where(rng.random((2, 3)) < share, one, rng.integers(0, num_classes, (2, 3))) for one in truth]
        for _ in range(num_epochs)
    ]
    wanted = released_protocol(truth, predicted, num_classes)
    found = cross_validate(sums_of(truth, predicted, num_classes, 5), released_miou)
    for fold, (epoch, score) in zip(found, wanted, strict=True):
        if not math.isnan(score):  # the release has no score where every epoch has 0 on a fold
            assert fold.epoch == epoch
            assert released_miou(fold.rest) == score


@given(st.integers(0, 60), st.integers(0, 12))
def test_every_picture_validates_at_most_once_and_folds_are_equal(num_pictures: int, folds: int) -> None:
    block, size = blocks(num_pictures, folds), fold_size(num_pictures, folds) if folds else 0
    assert len(block) == num_pictures and (np.diff(block) >= 0).all()
    if size:
        assert np.bincount(block, minlength=folds)[:folds].tolist() == [size] * folds
        assert (block == folds).sum() == num_pictures % folds
    assert (
        not folds or num_pictures < folds or (block[: size * folds] == np.arange(size * folds) // size).all()
    )


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, math.nan]), min_size=1, max_size=6))
def test_the_first_of_the_greatest_scores_is_chosen(scores: list[float]) -> None:
    place = choose(scores)
    known = [score for score in scores if not math.isnan(score)]
    if known:
        assert scores[place] == max(known)
        assert all(score != scores[place] for score in scores[:place])
    else:
        assert place == 0


def test_an_absent_class_counts_as_nothing_in_the_released_mean() -> None:
    matrix = np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    assert released_miou(matrix) == pytest.approx((3 / 4 + 4 / 5 + 0) / 3)


def test_the_deviation_is_the_populations_and_leaves_out_what_is_undefined() -> None:
    assert mean_and_deviation([1.0, math.nan, 3.0]) == (2.0, 1.0)
    assert all(math.isnan(value) for value in mean_and_deviation([math.nan]))


def test_no_epoch_cannot_be_chosen_from() -> None:
    with pytest.raises(ValueError, match="no epoch"):
        cross_validate(np.zeros((0, 6, 2, 2), np.int64), released_miou)
