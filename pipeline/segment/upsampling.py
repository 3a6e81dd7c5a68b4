"""The labels of a photograph in its own size from a network's smaller outputs, a band of rows at a time.

Whole outputs of 34 classes at 24 megapixels would take 3 GB.

Pure: it knows tensors, and not what the classes are.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

BAND_BYTES = 16 * 2**20
"""Of the outputs of one band."""


def labels_in_size(
    outputs: Tensor, size: tuple[int, int], band_bytes: int = BAND_BYTES
) -> NDArray[np.integer]:
    """The greatest of outputs [K, H, W], resized bilinearly to ``size`` (h, w): (h, w) uint8, or uint16 of
    more than 256 outputs.

    Pixels' centres are at halves and nothing is averaged, as ``interpolate(mode="bilinear",
    align_corners=False)`` does it, up to the rounding of float32.
    """
    num_outputs, height, _ = outputs.shape
    rows, columns = size
    dtype = np.uint8 if num_outputs <= 256 else np.uint16
    labels = np.empty(size, dtype)
    band = max(1, band_bytes // (4 * num_outputs * columns))
    for first in range(0, rows, band):
        places = torch.arange(first, min(first + band, rows), device=outputs.device, dtype=torch.float64)
        source = ((places + 0.5) * (height / rows) - 0.5).clamp(0, height - 1)
        above = source.floor().long()
        below = (above + 1).clamp(max=height - 1)
        part = (source - above).float()[:, None]  # [b, 1]
        between = torch.lerp(outputs[:, above], outputs[:, below], part)  # [K, b, W]
        wide = F.interpolate(between.flatten(0, 1)[:, None], columns, mode="linear")  # [K b, 1, w]
        greatest = wide.view(num_outputs, len(places), columns).max(0).indices  # four times as fast as argmax
        labels[first : first + len(places)] = greatest.cpu().numpy().astype(dtype)
    return labels
