"""Boundary IoU of label maps: how well the outlines of classes agree (Cheng et al., CVPR 2021).

The IoU of a large region hardly changes where its outline is wrong; that of its rim does. Nothing here knows
stores or files.
"""

from __future__ import annotations

from math import hypot

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.quality.overlap import ratio

PART_OF_DIAGONAL = 0.02  # what Cheng et al. take for COCO and LVIS


def default_distance(height: int, width: int) -> int:
    """The width d of the rim in pixels: 2% of the image's diagonal, rounded, and at least 1."""
    return max(1, round(PART_OF_DIAGONAL * hypot(height, width)))


def inner_boundary(labels: Tensor, known: Tensor, distance: int) -> Tensor:
    """The pixels that lie within ``distance`` pixels of the outline of their own class: [H, W] bool.

    labels: [H, W] integers. known: [H, W] bool; a pixel that is not known is on no boundary, and makes none.
    distance: d >= 1.

    A pixel is on the inner boundary if a known pixel of another class, or a place outside the image, is at
    most d rows and at most d columns away. This is a region minus its erosion by d squares of 3 x 3, as in
    the program of Cheng et al. One pass serves all classes: a pixel is inside its class where the greatest
    and the least known label of the square around it are the same.
    """
    values = labels.float()  # exact: labels are below 2^16
    greatest = _largest_around(values.masked_fill(~known, -torch.inf), distance)
    least = -_largest_around((-values).masked_fill(~known, -torch.inf), distance)
    boundary = greatest != least
    boundary[:distance] = boundary[-distance:] = True
    boundary[:, :distance] = boundary[:, -distance:] = True
    return boundary & known


def _largest_around(values: Tensor, distance: int) -> Tensor:
    """The maximum of the square of 2d + 1 pixels around each: [H, W] -> [H, W], along rows, then columns."""
    for axis in range(2):
        values = _largest_along(values, distance, axis)
    return values


def _largest_along(values: Tensor, distance: int, axis: int) -> Tensor:
    """The maximum of the 2d + 1 values around each along one axis.

    Maxima of 1, 2, 4, ... values follow from one another, and any number of values is two of these that
    overlap. The cost hardly grows with d.
    """
    size, window, span = values.shape[axis], 2 * distance + 1, 1
    sides = (0, 0, distance, distance) if axis == 0 else (distance, distance, 0, 0)
    held = F.pad(values, sides, value=-torch.inf)
    while 2 * span <= window:
        length = held.shape[axis] - span
        held = torch.maximum(held.narrow(axis, 0, length), held.narrow(axis, span, length))
        span *= 2
    return torch.maximum(held.narrow(axis, 0, size), held.narrow(axis, window - span, size))


class BoundaryCounts:
    """Pixels of both inner boundaries of each class, summed over images. A class because it keeps the sums.

    Boundary IoU of class k (Cheng et al., section 4) = |G_d and P_d| / |G_d or P_d|, with G_d and P_d the
    inner boundaries of width d of the true and of the predicted class. Both counts are summed over images.
    """

    def __init__(self, num_classes: int, distance: int) -> None:
        self.distance = distance
        self._counts = torch.zeros(3, num_classes, dtype=torch.int64)  # true, predicted, both

    def add(self, truth: Tensor, predicted: Tensor, known: Tensor) -> None:
        """One image: labels [H, W] and [H, W] in [0, K) where ``known`` [H, W] bool; others count nowhere."""
        true_rim = inner_boundary(truth, known, self.distance)
        found_rim = inner_boundary(predicted, known, self.distance)
        both = true_rim & found_rim & (truth == predicted)
        rims = (truth[true_rim], predicted[found_rim], truth[both])
        num_classes = self._counts.shape[1]
        self._counts += torch.stack([torch.bincount(rim.long(), minlength=num_classes) for rim in rims])

    def class_iou(self) -> Tensor:
        """Boundary IoU of each class: [K] float64, NaN for a class in neither truth nor prediction."""
        true, found, both = self._counts
        return ratio(both, true + found - both)
