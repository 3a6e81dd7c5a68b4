"""What looks wrong in keypoints: outside the picture, two at one position, left and right exchanged.

Pure functions of the points of all images. They know no files and no pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.quality.annotation_checks import KEYPOINT, Finding

MIN_OTHERS = 3  # images that must agree before one that differs is pointed out
MARK = 3  # pixels around a point in its box


def keypoint_findings(points: NDArray[Any], names: Sequence[str], height: int, width: int) -> list[Finding]:
    """What looks wrong in the keypoints (n, K, 3) of n images: x, y in pixels, and 0 where not labelled.

    ``names``: of the K keypoints; ``left_eye`` and ``right_eye`` are such a pair. A pair is exchanged where
    it is ordered along x as in no other image, and MIN_OTHERS others have it. The findings are in the order
    of the images.
    """
    found = [*_outside(points, height, width), *_doubled(points), *_exchanged(points, names)]
    return sorted(found, key=lambda finding: finding.image)


def _outside(points: NDArray[Any], height: int, width: int) -> Iterator[Finding]:
    x, y, labelled = points[..., 0], points[..., 1], points[..., 2] > 0
    outside = labelled & ((x < 0) | (y < 0) | (x > width) | (y > height))
    for image, k in np.argwhere(outside).tolist():
        where = f"at x {x[image, k]:g}, y {y[image, k]:g}: outside the picture"
        yield Finding(image, KEYPOINT, None, (k,), where)


def _doubled(points: NDArray[Any]) -> Iterator[Finding]:
    for one, other in combinations(range(points.shape[1]), 2):
        both = (points[:, [one, other], 2] > 0).all(axis=1)
        same = both & (points[:, one, :2] == points[:, other, :2]).all(axis=1)
        for image in np.flatnonzero(same).tolist():
            yield Finding(image, KEYPOINT, _box(points[image, [one]]), (one, other), "at one position")


def _exchanged(points: NDArray[Any], names: Sequence[str]) -> Iterator[Finding]:
    for left, right in _pairs(names):
        both = (points[:, [left, right], 2] > 0).all(axis=1)
        order = np.where(both, np.sign(points[:, right, 0] - points[:, left, 0]), 0)
        for way in (-1, 1):
            odd = np.flatnonzero(order == way)
            if len(odd) == 1 and (order == -way).sum() >= MIN_OTHERS:
                image = int(odd[0])
                box = _box(points[image, [left, right]])
                yield Finding(
                    image, KEYPOINT, box, (left, right), "in another order than in all other images"
                )


def _pairs(names: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Places of names that differ in the word left or right alone."""
    places = {name.lower(): place for place, name in enumerate(names)}
    for name, place in places.items():
        other = places.get(name.replace("left", "right")) if "left" in name else None
        if other is not None:
            yield place, other


def _box(points: NDArray[Any]) -> tuple[int, int, int, int]:
    """Around points (m, 3), with MARK pixels on every side."""
    (left, top), (right, bottom) = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    return (
        max(0, int(top) - MARK),
        max(0, int(left) - MARK),
        int(bottom) + MARK + 1,
        int(right) + MARK + 1,
    )
