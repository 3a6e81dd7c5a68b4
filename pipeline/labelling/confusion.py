"""Compares labels with true ones: the confusion matrix, and the intersection over union of classes."""

from __future__ import annotations

import torch
from torch import Tensor


def confusion(truth: Tensor, predicted: Tensor, num_classes: int) -> Tensor:
    """Pixels of each (true, predicted) pair of classes: [K, K] int64, from two integer vectors."""
    cell = truth.long() * num_classes + predicted.long()
    return torch.bincount(cell, minlength=num_classes**2).reshape(
        num_classes, num_classes
    )  # [truth, predicted]


def mean_iou(matrix: Tensor) -> float:
    """Mean intersection over union of a confusion matrix [K, K], over classes present in truth or prediction.

    NaN for an empty matrix.
    """
    matrix = matrix.double()
    intersection = matrix.diagonal()
    union = matrix.sum(0) + matrix.sum(1) - intersection
    present = union > 0
    return float((intersection[present] / union[present]).mean())
