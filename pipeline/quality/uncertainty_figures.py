"""What uncertainty says of error, over N images: rank correlation, what is left of quality where the least
uncertain images are kept, and the mean error of images of neighbouring uncertainty.

The quality of images is a mean of shares that are pooled over them: ``parts`` (N, K, 2) int64 counts, for
each image and each of K classes, the pixels in intersection and union, and the mean IoU follows from their
sums. For keypoints K is 1, and the two are the points found and the points labelled. Pure functions; nothing
here knows images, stores or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from pipeline.labelling.scores import keep_mask
from pipeline.quality.calibration_record import Bin, CurvePoint

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
MOST_BINS, IMAGES_A_BIN = 10, 3  # at most so many bins, and at least so many images in each


def average_ranks(values: NDArray[np.floating]) -> Floats:
    """Ranks from 1 of (N,) values, equal ones at the mean of their ranks; what is not finite comes last."""
    ordered = np.where(np.isfinite(values), values, np.inf)
    _, group, sizes = np.unique(ordered, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)  # the rank of each group's last
    ranks: Floats = (last - (sizes - 1) / 2)[group]
    return ranks


def spearman(one: NDArray[np.floating], other: NDArray[np.floating]) -> float | None:
    """Spearman's rank correlation of two (N,) arrays, from -1 to 1; None where either is constant.

    It is Pearson's correlation of the average ranks (Spearman, American Journal of Psychology 15, 1904).
    """
    a, b = (average_ranks(values) - (len(values) + 1) / 2 for values in (one, other))
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(np.clip((a @ b) / scale, -1.0, 1.0)) if scale > 0 else None


def class_shares(parts: Counts) -> Floats:
    """The share (..., K) of each class from its two counts (..., K, 2); NaN where the second is 0."""
    inside, whole = parts[..., 0].astype(np.float64), parts[..., 1]
    return np.divide(inside, whole, out=np.full(inside.shape, np.nan), where=whole > 0)


def pooled_quality(parts: Counts) -> Floats:
    """Mean IoU, or the share of keypoints found, (...) from counts (..., K, 2) that are pooled already.

    It is the mean over the classes that occur; NaN where none does.
    """
    return _mean_known(class_shares(parts))


def pooled_gain(kept: Counts, everything: Counts) -> Floats:
    """By how much the quality of ``kept`` (..., K, 2) is above that of ``everything`` (K, 2): (...).

    It is the mean over the classes that the kept images still show. Else a share would gain by dropping the
    only image of a hard class.
    """
    return _mean_known(class_shares(kept) - class_shares(everything))


def num_kept(uncertainty: NDArray[np.floating], shares: Sequence[str]) -> tuple[int, ...]:
    """How many images the filter keeps at each share."""
    return tuple(int(keep_mask(uncertainty, Fraction(share))[0].sum()) for share in shares)


def kept_parts(parts: Counts, order: NDArray[np.integer], counts: Sequence[int]) -> Counts:
    """The pooled counts (F, K, 2) of the first images of an ``order``, so many as each of F ``counts``."""
    sums = np.zeros((len(order) + 1, *parts.shape[1:]), np.int64)
    np.cumsum(parts[order], axis=0, out=sums[1:])
    return sums[list(counts)]


def keeping_order(uncertainty: NDArray[np.floating]) -> NDArray[np.integer]:
    """The images in the order in which the filter keeps them: certain first, equal ones by index."""
    return np.argsort(np.where(np.isfinite(uncertainty), uncertainty, np.inf), kind="stable")


def kept_curve(
    uncertainty: NDArray[np.floating], parts: Counts, shares: Sequence[str]
) -> tuple[CurvePoint, ...]:
    """Quality and gain of the images that the filter keeps at each share, by their ``uncertainty`` (N,)."""
    counts = num_kept(uncertainty, shares)
    kept = kept_parts(parts, keeping_order(uncertainty), counts)
    qualities, gains = pooled_quality(kept), pooled_gain(kept, parts.sum(0))
    return tuple(
        CurvePoint(share, num, *(0.0 if np.isnan(value) else float(value) for value in (quality, gain)))
        for share, num, quality, gain in zip(shares, counts, qualities, gains, strict=True)
    )


def mean_gain(curve: Sequence[CurvePoint]) -> float:
    """The mean gain over the shares below 1: the area between the curve and the quality of all images, as a
    part of the shares' range. 0 is what an order by chance brings on average.
    """
    gains = [point.gain for point in curve if point.keep != "1"]
    return sum(gains) / len(gains)


def error_bins(uncertainty: NDArray[np.floating], error: NDArray[np.floating]) -> tuple[Bin, ...]:
    """Mean uncertainty and mean error of quantiles: equally many images in each, as far as they divide.

    Images whose uncertainty is not finite are left out.
    """
    finite = np.flatnonzero(np.isfinite(uncertainty))
    order = finite[np.argsort(uncertainty[finite], kind="stable")]
    num = max(1, min(MOST_BINS, len(order) // IMAGES_A_BIN))
    return tuple(
        Bin(len(part), float(uncertainty[part].mean()), float(error[part].mean()))
        for part in np.array_split(order, num)
        if len(part)
    )


def _mean_known(values: Floats) -> Floats:
    """The mean over the last axis of the values that are no NaN; NaN where there are none."""
    known = ~np.isnan(values)
    sums, num = np.where(known, values, 0.0).sum(-1), known.sum(-1)
    return np.divide(sums, num, out=np.full(sums.shape, np.nan), where=num > 0)
