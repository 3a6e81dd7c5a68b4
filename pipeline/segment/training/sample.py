"""A labelled image on its way to a segmenter. It knows arrays, and not where they come from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.inputs.pictures.resized import resized_picture
from pipeline.segment.pictures import resized_labels


@dataclass(frozen=True)
class Sample:
    """A picture (h, w, 3) uint8 with its target.

    labels: (h, w) int64, `pipeline.inputs.photographs.IGNORED` where no class is to be learnt. points:
    (K, 3) float32 in their place, of keypoints: x and y in pixels, the centre of pixel (row, column) at
    (column, row) + 0.5, and 1 where the point is to be learnt, 0 where not.
    """

    picture: NDArray[np.uint8]
    labels: NDArray[np.int64] | None = None
    points: NDArray[np.float32] | None = None

    @property
    def target(self) -> NDArray[np.int64] | NDArray[np.float32]:
        """The one that is there."""
        found = self.labels if self.points is None else self.points
        assert found is not None
        return found

    @property
    def size(self) -> tuple[int, int]:
        """(h, w)."""
        height, width = self.picture.shape[:2]
        return height, width


def resized(sample: Sample, size: tuple[int, int]) -> Sample:
    """The sample at ``size`` (H, W), by the rules of `pipeline.segment.pictures`."""
    if sample.size == size:
        return sample
    picture = resized_picture(sample.picture, size)
    if sample.labels is not None:
        return Sample(picture, labels=resized_labels(sample.labels, size).astype(np.int64, copy=False))
    assert sample.points is not None
    (height, width), (new_height, new_width) = sample.size, size
    scale = np.array([new_width / width, new_height / height, 1], np.float32)
    return Sample(picture, points=sample.points * scale)


def cropped(sample: Sample, top: int, left: int, size: tuple[int, int]) -> Sample:
    """The part of a sample of ``size`` (h, w) from row ``top`` and column ``left`` on.

    Points outside are not learnt.
    """
    height, width = size
    part = np.s_[top : top + height, left : left + width]
    if sample.labels is not None:
        return Sample(sample.picture[part], labels=sample.labels[part])
    assert sample.points is not None
    points = sample.points - np.array([left, top, 0], np.float32)
    inside = (points[:, :2] >= 0).all(1) & (points[:, :2] < [width, height]).all(1)
    points[:, 2] *= inside
    return Sample(sample.picture[part], points=points)


def mirrored(sample: Sample, swap: NDArray[np.int64]) -> Sample:
    """The sample with left and right exchanged. ``swap`` (K,): the output that each becomes.

    Doing so twice gives the sample again.
    """
    picture = sample.picture[:, ::-1]
    if sample.labels is not None:
        table = np.append(swap, -1)  # IGNORED, which is -1, finds the last
        return Sample(picture, labels=table[sample.labels[:, ::-1]])
    assert sample.points is not None
    points = sample.points[swap]
    points[:, 0] = sample.picture.shape[1] - points[:, 0]
    return replace(sample, picture=picture, points=points)
