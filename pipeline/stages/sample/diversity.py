"""Which of many images are worth annotating: the most spread, or those that an interpreter is least sure of.

Pure functions of points and scores; they know no latents, networks or files.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 4096  # points whose distances are computed at once


def farthest_points(
    points: NDArray[np.floating], num: int, chosen_before: NDArray[np.floating] | None = None
) -> NDArray[np.int64]:
    """Indices (num,) of ``points`` (n, d) that cover them: the one nearest the mean, then always the one
    farthest from those chosen. ``chosen_before`` (m, d): points that are chosen already.

    Greedy k-centre (Gonzalez, "Clustering to minimize the maximum intercluster distance", Theoretical
    Computer Science 38, 1985): no point is farther from its nearest chosen one than twice what the best
    choice of ``num`` allows. Every beginning of the result is such a choice too. Distances are Euclidean, in
    float64; of equal ones the lowest index is taken. Raises ValueError unless 1 <= num <= n.
    """
    if not 1 <= num <= len(points):
        raise ValueError(f"num is {num}; expected 1 to {len(points)}, the number of points")
    nearest = np.full(len(points), np.inf)  # squared distance of each point to the chosen ones
    for point in () if chosen_before is None else chosen_before:
        nearest = np.minimum(nearest, _squared_distances(points, point))
    chosen = np.empty(num, np.int64)
    for place in range(num):
        if np.isinf(nearest[0]):  # none is chosen yet
            chosen[place] = _squared_distances(points, points.mean(axis=0, dtype=np.float64)).argmin()
        else:
            chosen[place] = nearest.argmax()
        last = chosen[place]
        nearest = np.minimum(nearest, _squared_distances(points, points[last]))
        nearest[last] = -1  # not again, were all that are left copies of it
    return chosen


def least_certain(scores: NDArray[np.floating], num: int) -> NDArray[np.int64]:
    """Indices (num,) of the highest ``scores`` (n,), highest first, of equal ones the lowest index.

    A score that is no finite number comes last: it tells of a picture that failed, not of a doubt. Raises
    ValueError unless 1 <= num <= n.
    """
    if not 1 <= num <= len(scores):
        raise ValueError(f"num is {num}; expected 1 to {len(scores)}, the number of scores")
    finite = np.where(np.isfinite(scores), np.asarray(scores, np.float64), -np.inf)
    return np.argsort(-finite, kind="stable")[:num].astype(np.int64)


def _squared_distances(points: NDArray[np.floating], center: NDArray[np.floating]) -> NDArray[np.float64]:
    distances = np.empty(len(points))  # [n]
    for start in range(0, len(points), BLOCK):  # else the differences would take more than the points
        block = slice(start, start + BLOCK)
        distances[block] = np.square(points[block] - center.astype(np.float64)).sum(axis=1)
    return distances
