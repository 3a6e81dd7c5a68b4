"""Which images a filter keeps, as ``docs/format.md`` says it. Pure: scores and classes in, a mask out.

What writes a filter decides for itself; this is what a filter is compared with.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import numpy as np

from fstore.values import keep_fraction


def num_kept(keep: str, scores: np.ndarray) -> int:
    """Images that a filter keeps: ceil(keep * N), or all that have a finite score where these are fewer.

    A filter that is per class keeps these and more.
    """
    return min(ceil(keep_fraction(keep) * len(scores)), int(np.isfinite(scores).sum()))


def kept_per_class(keep: str, scores: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """(N,) bool: what a filter keeps that is per class.

    Args:
        keep: the share as decimal text.
        scores: (N,) float; an image whose score is not finite is never kept.
        shown: (N, K) bool, whether the image shows the class.
    """
    order = np.lexsort((np.arange(len(scores)), scores))  # equal scores by index, NaN last
    order = order[np.isfinite(scores[order])]
    kept = np.zeros(len(scores), bool)
    kept[order[: num_kept(keep, scores)]] = True
    for images in shown.T:
        of_class = order[images[order]]
        kept[of_class[: ceil(keep_fraction(keep) * len(of_class))]] = True
    return kept


def threshold_problems(
    threshold: float | None, kept: np.ndarray, scores: np.ndarray, name: str
) -> Iterator[str]:
    """A line where ``threshold`` is not the largest score of a kept image. ``name``: of the scores."""
    found = scores[kept & np.isfinite(scores)]
    largest = float(found.max()) if len(found) else None
    if largest is None or threshold is None:
        same = largest is threshold
    else:
        same = bool(np.isclose(largest, threshold))
    if not same:
        yield f"attribute 'threshold' is {threshold}, expected {largest}, the largest kept {name}"


def order_problems(kept: np.ndarray, scores: np.ndarray) -> Iterator[str]:
    """A line where an ordinary filter keeps other images than those of the least score. Which of equal ones
    is left open: an older program may have chosen others.
    """
    finite = np.isfinite(scores)
    largest, dropped = scores[kept & finite], scores[~kept & finite]
    if len(largest) and len(dropped) and dropped.min() < largest.max():
        yield "array 'kept' drops an image that is less uncertain than one it keeps"
