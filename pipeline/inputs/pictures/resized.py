"""Resizes a picture as Pillow does by default, which is the rule of the released code too."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def resized_picture(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(h, w, 3) to ``size`` (H, W): (H, W, 3) uint8, bicubic; the same array where it has that size."""
    if picture.shape[:2] == size:
        return picture
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize(size[::-1], Image.Resampling.BICUBIC))
