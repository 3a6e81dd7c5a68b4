"""Figures of a confusion matrix: the intersection over union of each class, the share of right pixels.

A matrix [K, K] counts pixels, truth in rows and prediction in columns (`pipeline.labelling.confusion`). It is
summed over all images before anything is divided, so that a class counts by its pixels and not by its images.
Nothing here knows images, stores or files.
"""

from __future__ import annotations

import torch
from torch import Tensor


def class_iou(matrix: Tensor) -> Tensor:
    """Intersection over union of each class: [K] float64, NaN for a class in neither truth nor prediction.

    IoU of class k = n_kk / (sum_j n_kj + sum_j n_jk - n_kk), the Jaccard index of its pixels (Everingham et
    al., The PASCAL VOC Challenge, IJCV 2010; mean IU in Long et al., CVPR 2015, section 5).
    """
    exact = matrix.double()
    intersection = exact.diagonal()
    return ratio(intersection, exact.sum(0) + exact.sum(1) - intersection)


def pixel_accuracy(matrix: Tensor) -> float:
    """The share of pixels with the right label (Long et al., CVPR 2015, section 5); NaN for no pixels."""
    return float(ratio(matrix.diagonal().sum(), matrix.sum()))


def normalised_rows(matrix: Tensor) -> Tensor:
    """Of the pixels of each true class, the share with each label: [K, K] float64; NaN in an empty row."""
    return ratio(matrix, matrix.sum(1, keepdim=True))


def mean_present(values: Tensor) -> float:
    """The mean of the values that are no NaN: of the classes that occur. NaN where none does."""
    return float(values[~values.isnan()].mean())


def ratio(part: Tensor, whole: Tensor) -> Tensor:
    """``part / whole`` in float64; NaN where ``whole`` is 0."""
    return torch.where(whole > 0, part.double() / whole.double(), torch.nan)
