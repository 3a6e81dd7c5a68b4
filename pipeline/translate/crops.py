"""Which square of a picture is learnt from, and that square at the size of the network.

A crop is a part of the picture, in shares: two pictures of one aspect show the same in the same crop.
`drawn_crop` is a pure function; this module reads no file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.machine.random_streams import Purpose, counter_based

_PLACE_BITS = 32  # of a place in the order of an epoch


@dataclass(frozen=True)
class Crop:
    """A square whose side is ``share`` of the picture's shorter side. ``across`` and ``down`` say where, from
    0 (left, top) to 1 (right, bottom).
    """

    share: float
    across: float
    down: float

    def box(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) in pixels of a picture of ``size`` (h, w)."""
        height, width = size
        side = self.share * min(size)
        left, top = self.across * (width - side), self.down * (height - side)
        return left, top, min(left + side, width), min(top + side, height)


CENTRE = Crop(1, 0.5, 0.5)


def drawn_crop(least: float, seed: int, epoch: int, place: int, part: int) -> Crop:
    """The crop of what is at ``place`` in the order of an epoch: share, column and row are uniform, the share
    in [least, 1].

    ``part``: 0 for the source, 1 for the target, 2 for both of a pair.
    """
    random = counter_based(Purpose.TRANSLATE_CROP, seed, (epoch << _PLACE_BITS) + place, part)
    share, across, down = random.random(3)
    return Crop(1 - (1 - least) * float(share), float(across), float(down))


def cropped(picture: NDArray[np.uint8], crop: Crop, resolution: int) -> NDArray[np.uint8]:
    """The square (resolution, resolution, 3) of a picture (h, w, 3), by Pillow's bicubic filter."""
    box, size = crop.box(picture.shape[:2]), (resolution, resolution)
    if picture.shape[:2] == size and box == (0, 0, resolution, resolution):
        return picture
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC, box=box))
