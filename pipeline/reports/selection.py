"""Chooses which of a dataset's images a page carries. A pure function of scores; it reads no store."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SHARE_OF_A_TAIL = 4  # a quarter of the images are the most certain ones, a quarter the least
SHARE_NOT_FINITE = 20  # at most one in so many shows what has no score


def chosen_images(
    uncertainty: NDArray[np.floating], kept: NDArray[np.bool_] | None, num_images: int
) -> NDArray[np.int64]:
    """The places of at most ``num_images`` (at least 1) images that show the whole range of uncertainty.

    Both tails are whole: the most and the least certain quarter. The others are spread evenly over the range
    of the scores between. Of a filter that drops some, kept and dropped ones are both among them where two
    or more can be shown. A few of those whose score is not finite are shown too.

    Args:
        uncertainty: (N,) float, NaN where an image has no score.
        kept: (N,) bool, or None where there is no filter.
        num_images: how many the page has room for.

    Returns:
        Places in [0, N), ascending, no two equal: min(N, num_images) of them.
    """
    finite = np.isfinite(uncertainty)
    if len(uncertainty) <= num_images:
        return np.arange(len(uncertainty))
    without = np.flatnonzero(~finite)
    room = 0 if num_images < SHARE_OF_A_TAIL else max(1, num_images // SHARE_NOT_FINITE)
    num_without = max(min(len(without), room), num_images - int(finite.sum()))
    num_scored = num_images - num_without
    order = np.argsort(np.where(finite, uncertainty, np.inf), kind="stable")[: int(finite.sum())]
    scored = order[_ranks(uncertainty[order], num_scored)]
    if kept is not None and num_scored >= 2:
        scored = _with_both_kinds(scored, order, kept)
    return np.sort(np.concatenate([scored, without[:num_without]]))


def _ranks(scores: NDArray[np.floating], num: int) -> NDArray[np.int64]:
    """Ranks of ``num`` of the ascending ``scores``: whole tails, and between them evenly by score."""
    tail = num // SHARE_OF_A_TAIL
    middle = np.arange(tail, len(scores) - tail)
    between = scores[middle].astype(np.float64)
    num_between = num - 2 * tail
    if num_between == 0:
        return np.concatenate([middle[:0], np.arange(tail), np.arange(len(scores) - tail, len(scores))])
    wanted = np.linspace(between[0], between[-1], num_between)
    places = np.searchsorted(between, wanted)
    steps = np.arange(num_between)  # no two the same: each at least one after the one before it
    places = np.maximum.accumulate(places - steps) + steps
    places = np.minimum(places, len(between) - num_between + steps)
    return np.concatenate([np.arange(tail), middle[places], np.arange(len(scores) - tail, len(scores))])


def _with_both_kinds(
    scored: NDArray[np.int64], order: NDArray[np.int64], kept: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """``scored``, ascending by score, with some images of a kind, kept or dropped, that it lacks."""
    for kind in (kept, ~kept):
        there = order[kind[order]]
        if len(there) and not kind[scored].any():
            num = min(len(there), max(1, len(scored) // SHARE_OF_A_TAIL))
            added = there[np.linspace(0, len(there) - 1, num).round().astype(int)]
            first = (len(scored) - num) // 2
            return np.concatenate([scored[:first], added, scored[first + num :]])
    return scored
