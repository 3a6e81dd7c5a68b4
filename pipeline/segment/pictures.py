"""How a picture comes to a segmentation network, and a label map to the picture's size.

Both are the rules of the released code (datasetGAN_release, ``train_deeplab.py``): Pillow resizes pictures
with its default filter and labels to the nearest, and pictures are normalised as for ImageNet.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.inputs.annotations.raster.fitting import stretch_nearest

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


def resized_labels(labels: NDArray[np.integer], size: tuple[int, int]) -> NDArray[np.integer]:
    """(h, w) to ``size`` (H, W), of the same dtype, to the nearest as Pillow does; the same array
    where it has that size.
    """
    return stretch_nearest(labels, *size)


def normalised(images: Tensor) -> Tensor:
    """[N, 3, H, W] uint8 to float32, as the network takes them, on the same device."""
    mean, deviation = (
        torch.tensor(values, device=images.device).view(1, 3, 1, 1) for values in (MEAN, DEVIATION)
    )
    return (images.float() / 255 - mean) / deviation
