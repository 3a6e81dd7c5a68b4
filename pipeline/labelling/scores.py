"""Scores images by their divergence: how uncertain each one is, and which images are kept.

Pure functions of divergences and scores. Nothing here knows of stores, files or generators.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fstore.meta import SCORES


def score_images(divergence: Tensor, score: str = "top10") -> Tensor:
    """Each image's uncertainty [n] float64 from its divergence [n, H, W], on the same device.

    ``top10`` (DatasetGAN's rule) is the mean of the most uncertain 10% of the pixels, at least one; ``mean``
    and ``sum`` are over all. Sums are taken in float64. A NaN anywhere gives NaN. Raises ValueError for an
    unknown score or an empty map.
    """
    if score not in SCORES:
        raise ValueError(f"score is {score!r}, expected one of {', '.join(SCORES)}")
    if divergence.numel() == 0:
        raise ValueError(
            f"divergence of shape {tuple(divergence.shape)} is empty, expected at least one pixel"
        )
    pixels = divergence.flatten(1)  # [n, H * W]
    if score == "top10":
        pixels = pixels.topk(max(1, pixels.shape[1] // 10), dim=1).values  # a NaN counts as the largest
    return pixels.double().sum(1) if score == "sum" else pixels.double().mean(1)


def keep_mask(scores: NDArray[np.floating], keep: Fraction) -> tuple[NDArray[np.bool_], float | None]:
    """Which images are kept: ``ceil(keep * N)`` of the least uncertain ones, equal scores by index.

    An image whose score is not finite is never kept, so fewer are kept where too few have a finite one.

    Args:
        scores: (N,) float, lower is more certain.
        keep: exactly the fraction that was asked for, ``Fraction("0.07")``: ``ceil(0.07 * 100)`` in floating
            point is 8.

    Returns:
        The (N,) bool mask and the threshold, which is the largest score kept, or None where none is kept.

    Raises:
        ValueError: the fraction is outside [0, 1].
    """
    if not 0 <= keep <= 1:
        raise ValueError(f"keep is {float(keep):g}, expected a fraction from 0 to 1")
    finite = np.isfinite(scores)
    num = min(math.ceil(keep * len(scores)), int(finite.sum()))
    order = np.argsort(np.where(finite, scores, np.inf), kind="stable")
    kept = np.zeros(len(scores), dtype=bool)
    kept[order[:num]] = True
    return kept, float(scores[kept].max()) if num else None
