"""How wrong the labels or keypoints of one image are, as counts that can be pooled over images.

The counts are the ``parts`` of `pipeline.quality.uncertainty_figures`. Pure functions of arrays; nothing here
knows stores or files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.labelling.confusion import confusion
from pipeline.labelling.heat_maps import pck
from pipeline.quality.uncertainty_figures import Counts, pooled_quality

NEAR = 0.10  # of the larger side: PCK@10


@dataclass(frozen=True)
class ImageError:
    """``parts`` (K, 2) int64; ``error`` and ``quality`` of the image alone, from 0 to 1."""

    parts: Counts
    error: float
    quality: float


def label_error(
    labels: NDArray[np.integer], truth: NDArray[np.integer], counted: NDArray[np.bool_], num_classes: int
) -> ImageError:
    """Of an image with labels and true labels [H, W], on its ``counted`` pixels [H, W], one at least.

    ``error`` is the share of wrong pixels. ``quality`` is the mean IoU over the classes in either.
    """
    matrix = confusion(
        torch.from_numpy(truth[counted].astype(np.int64)),
        torch.from_numpy(labels[counted].astype(np.int64)),
        num_classes,
    ).numpy()
    right = matrix.diagonal()
    parts = np.stack([right, matrix.sum(0) + matrix.sum(1) - right], axis=1)
    return ImageError(parts, 1 - float(right.sum() / matrix.sum()), float(pooled_quality(parts)))


def keypoint_error(
    found: NDArray[np.floating], truth: NDArray[np.floating], shape: tuple[int, int]
) -> ImageError:
    """Of an image of ``shape`` with found (K, 2 or more) and true keypoints (K, 3), one labelled at least.

    ``quality`` is PCK@10, and ``error`` is 1 minus that.
    """
    labelled = int((truth[:, 2] > 0).sum())
    share = pck(found[None], truth[None], NEAR, max(shape))
    parts = np.array([[round(share * labelled), labelled]], dtype=np.int64)
    return ImageError(parts, 1 - share, share)
