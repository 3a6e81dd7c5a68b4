"""How far keypoints are from where they were found, one figure for all and one for each keypoint.

`pipeline.labelling.heat_maps` has PCK, the share that is near enough. Nothing here knows stores or files.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.labelling.heat_maps import pck


def distances(found: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.float64]:
    """Pixels between each found point and the true one: (n, K) float64; NaN where none is labelled or found.

    ``found`` (n, K, 2 or more) x and y in pixels, ``truth`` (n, K, 3), whose third value is 0 for a point
    without a label.
    """
    gap = np.linalg.norm(found[..., :2].astype(np.float64) - truth[..., :2], axis=-1)
    return np.where(truth[..., 2] > 0, gap, np.nan)


def mean_distance(found: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """The mean of ``distances`` over the points that have one; NaN where none has."""
    known = distances(found, truth)
    known = known[np.isfinite(known)]
    return float(known.mean()) if known.size else float("nan")


def pck_by_keypoint(
    found: NDArray[np.floating], truth: NDArray[np.floating], fraction: float, side: int
) -> list[float]:
    """PCK of each of K keypoints over all images; NaN for one that is labelled in none."""
    return [pck(found[:, k : k + 1], truth[:, k : k + 1], fraction, side) for k in range(truth.shape[1])]
