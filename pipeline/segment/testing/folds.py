"""Cross-validation over the epochs of a training, as the released code does it (datasetGAN_release,
``test_deeplab_cross_validation.py``): each fold of the pictures chooses an epoch, and all others score it.

With n pictures in the order of their names and F folds, fold i has the places i f to (i + 1) f - 1, where f
is n // F. The last n - F f pictures are in no fold: they score each time. Figures are of sums over pictures,
so that an epoch's predictions are needed once, and not for every fold. Pure: it knows sums, and not of what.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Sums = NDArray[np.int64]
"""What is counted, added over pictures: of any shape."""
Score = Callable[[Sums], float]
"""What an epoch is judged by; NaN where nothing can be said."""

EPSILON = 1e-8  # that the released code adds to unions


@dataclass(frozen=True)
class Fold:
    """epoch: the place of the epoch that was chosen. validation: its score on the fold. rest: the sums of
    that epoch over all other pictures.
    """

    epoch: int
    validation: float
    rest: Sums


def fold_size(num_pictures: int, folds: int) -> int:
    """Pictures in each fold."""
    return num_pictures // folds


def blocks(num_pictures: int, folds: int) -> NDArray[np.int64]:
    """(n,): the fold of each picture, and ``folds`` for those in none."""
    places = np.arange(num_pictures)
    return (
        np.minimum(places // max(fold_size(num_pictures, folds), 1), folds)
        if folds
        else np.zeros(num_pictures, np.int64)
    )


def choose(scores: Sequence[float]) -> int:
    """The place of the greatest score, of equal ones the first; NaN is less than all others."""
    known = [-math.inf if math.isnan(score) else score for score in scores]
    return known.index(max(known))


def cross_validate(sums: NDArray[np.int64], score: Score) -> tuple[Fold, ...]:
    """The folds of ``sums`` [E, F + 1, ...], counted in each epoch over the pictures of each block.

    Raises ValueError for sums of no epoch.
    """
    if not len(sums):
        raise ValueError("there is no epoch to choose")
    found = []
    for fold in range(sums.shape[1] - 1):
        scores = [score(epoch[fold]) for epoch in sums]
        best = choose(scores)
        found.append(Fold(best, scores[best], sums[best].sum(0) - sums[best][fold]))
    return tuple(found)


def released_miou(matrix: Sums) -> float:
    """The mean intersection over union of a confusion matrix [K, K] as the released code computes it: over
    all classes, where one in neither truth nor prediction counts as 0.
    """
    intersection = matrix.diagonal().astype(np.float64)
    union = matrix.sum(0) + matrix.sum(1) - intersection
    return float(np.mean(intersection / (EPSILON + union)))


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """The mean and the population's standard deviation of the values that are no NaN; NaN where none is."""
    known = np.array([value for value in values if not math.isnan(value)], np.float64)
    return (float(known.mean()), float(known.std())) if known.size else (math.nan, math.nan)
