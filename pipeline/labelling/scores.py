"""Scores images by their divergence: how uncertain each one is, and which images are kept.

Pure functions of divergences and scores. Nothing here knows of stores, files or generators.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fstore.meta import SCORES, SCORES_OF_LABELS

WIDTHS_A_SIDE = 128


def score_images(divergence: Tensor, score: str = "top10", labels: Tensor | None = None) -> Tensor:
    """Each image's uncertainty [n] float64 from its divergence [n, H, W], on the same device.

    ``top10`` (DatasetGAN's rule) is the mean of the most uncertain 10% of the pixels, at least one; ``mean``
    and ``sum`` are over all. Two need the ``labels`` [n, H, W], whole numbers: ``class-mean`` is the mean,
    over the classes that an image shows, of their pixels' mean, so that small classes weigh as much as large
    ones; ``interior`` is ``top10`` without the pixels near a boundary between labels (all of them where none
    is left). Sums are taken in float64. A NaN anywhere gives NaN. Raises ValueError for an unknown score, an
    empty map, or labels that are missing.
    """
    if score not in SCORES:
        raise ValueError(f"score is {score!r}, expected one of {', '.join(SCORES)}")
    if divergence.numel() == 0:
        raise ValueError(
            f"divergence of shape {tuple(divergence.shape)} is empty, expected at least one pixel"
        )
    if score in SCORES_OF_LABELS:
        if labels is None or labels.shape != divergence.shape:
            found = "none" if labels is None else f"of shape {tuple(labels.shape)}"
            raise ValueError(f"score {score} needs labels {tuple(divergence.shape)}, found {found}")
        rule = _class_mean if score == "class-mean" else _interior
        scores = [rule(one, label) for one, label in zip(divergence, labels, strict=True)]
        return torch.stack(scores).where(divergence.isfinite().all(2).all(1), torch.nan)
    pixels = divergence.flatten(1)  # [n, H * W]
    if score == "top10":
        pixels = pixels.topk(max(1, pixels.shape[1] // 10), dim=1).values  # a NaN counts as the largest
    return pixels.double().sum(1) if score == "sum" else pixels.double().mean(1)


def _class_mean(divergence: Tensor, labels: Tensor) -> Tensor:
    """The mean over the classes of ``labels`` [H, W] of the mean divergence [H, W] of their pixels."""
    classes = labels.flatten().long()
    pixels = torch.bincount(classes)
    sums = torch.zeros(len(pixels), dtype=torch.float64, device=divergence.device)
    # It sorts on a GPU, so that equal runs add in the same order; `index_add_` adds there in any order.
    sums.index_put_((classes,), divergence.flatten().double(), accumulate=True)
    present = pixels > 0
    return (sums[present] / pixels[present]).mean()


def _interior(divergence: Tensor, labels: Tensor) -> Tensor:
    """``top10`` of the pixels [H, W] that lie farther from every boundary than its width."""
    inside = divergence[~near_boundary(labels, boundary_width(labels.shape))]
    pixels = inside if len(inside) else divergence.flatten()
    return pixels.topk(max(1, len(pixels) // 10)).values.double().mean()


def boundary_width(shape: Sequence[int]) -> int:
    """How many pixels on each side of a boundary count as near it: 1/128 of the larger side, at least 1."""
    return max(1, max(shape) // WIDTHS_A_SIDE)


def near_boundary(labels: Tensor, width: int) -> Tensor:
    """Whether another label lies at most ``width`` rows and columns from a pixel: [H, W] bool.

    ``labels`` [H, W] are whole numbers up to 65,535. The image's edge is no boundary.
    """
    values = labels if labels.dtype == torch.uint8 else labels.int()  # uint16 has no maximum
    return _over_squares(values, width, torch.maximum) != _over_squares(values, width, torch.minimum)


def _over_squares(values: Tensor, width: int, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """``combine`` over the square of 2 ``width`` + 1 rows and columns around each pixel, [H, W].

    Rows first, then columns; each is combined with one beside it that covers as many, so that the number of
    steps is the logarithm of the width.
    """
    for axis, size in enumerate(values.shape):
        places = torch.arange(-width, size + width, device=values.device)
        covered = values.index_select(axis, places.clamp(0, size - 1))  # what lies outside repeats the edge
        span, whole = 1, 2 * width + 1
        while span < whole:
            step = min(span, whole - span)
            length = covered.shape[axis] - step
            covered = combine(covered.narrow(axis, 0, length), covered.narrow(axis, step, length))
            span += step
        values = covered
    return values


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


def keep_mask_per_class(
    scores: NDArray[np.floating], keep: Fraction, shown: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], float | None]:
    """What ``keep_mask`` keeps, and of each class the ``ceil(keep * N_c)`` least uncertain images too.

    N_c is the number of images that show the class and have a finite score. So no class loses a larger part
    of its images than ``keep`` says, and more than ``ceil(keep * N)`` images may be kept.

    Args:
        scores, keep: as for ``keep_mask``.
        shown: (N, K) bool, whether the image shows the class with a pixel at least.

    Returns:
        The same as ``keep_mask``. Raises ValueError as it does.
    """
    kept, _ = keep_mask(scores, keep)
    finite = np.isfinite(scores)
    for images in shown.T:
        of_class = np.flatnonzero(images & finite)
        kept[of_class[keep_mask(scores[of_class], keep)[0]]] = True
    return kept, float(scores[kept].max()) if kept.any() else None
