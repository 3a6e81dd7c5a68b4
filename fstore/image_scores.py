"""An image's score by its divergence and labels, as ``docs/format.md`` defines it, image by image in numpy.

Pure. What labels images computes the same on its device, of many at once; this is what stored scores are
compared with.
"""

from __future__ import annotations

import numpy as np

WIDTHS_A_SIDE = 128


def image_score(divergence: np.ndarray, labels: np.ndarray | None, score: str) -> float:
    """The score of one image: divergence (H, W), labels (H, W) for the scores that need them.

    NaN where a divergence is not finite.
    """
    exact = divergence.astype(np.float64)
    if not np.isfinite(exact).all():
        return float("nan")
    if score == "sum":
        return float(exact.sum())
    if score == "mean":
        return float(exact.mean())
    if score == "top10":
        return _mean_of_highest(exact.ravel())
    assert labels is not None, "format.md: a store without labels has no such score"
    if score == "class-mean":
        return float(np.mean([exact[labels == label].mean() for label in np.unique(labels)]))
    inside = exact[~near_boundary(labels, max(1, max(labels.shape) // WIDTHS_A_SIDE))]
    return _mean_of_highest(inside if len(inside) else exact.ravel())


def near_boundary(labels: np.ndarray, width: int) -> np.ndarray:
    """(H, W) bool: whether another label lies at most ``width`` rows and columns from a pixel."""
    rows, columns = labels.shape
    near = np.zeros(labels.shape, bool)
    for down in range(min(width, rows - 1) + 1):
        for right in range(-min(width, columns - 1), min(width, columns - 1) + 1):
            here = slice(0, rows - down), slice(max(0, -right), columns - max(0, right))
            there = slice(down, rows), slice(max(0, right), columns - max(0, -right))
            other = labels[here] != labels[there]
            near[here] |= other
            near[there] |= other
    return near


def _mean_of_highest(values: np.ndarray) -> float:
    """The mean of the highest tenth of the values (n,), at least of one."""
    num = max(1, len(values) // 10)
    return float(np.partition(values, len(values) - num)[-num:].mean())
