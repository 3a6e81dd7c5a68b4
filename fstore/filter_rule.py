"""Which images a filter keeps, as ``docs/format.md`` says it. Pure: scores and classes in, a mask out.

What writes a filter decides for itself; this is what a filter is compared with.
"""

from __future__ import annotations

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
