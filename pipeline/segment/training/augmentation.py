"""How images are changed at random while a segmenter learns: cropped, mirrored, coloured; all off by default.

What is drawn is a pure function of seed, epoch and the image's place, so that a run that goes on sees the
images that an undisturbed one sees. It knows samples. It does not know where they come from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from pipeline.machine.random_streams import Purpose, counter_based
from pipeline.segment.training.sample import Sample, cropped, mirrored, resized


@dataclass(frozen=True)
class Augmentation:
    """What may be changed.

    flip: whether half of the images are mirrored. swap: (K,), the output that each becomes then. crop: the
    smallest side of a crop, as a part of the image's; None: no crop. color: the largest change of brightness,
    contrast and saturation, as a part of them; None: no change.
    """

    swap: NDArray[np.int64]
    flip: bool = False
    crop: float | None = None
    color: float | None = None


@dataclass(frozen=True)
class Draw:
    """What is drawn for one image in one epoch: numbers in [0, 1), whatever is switched on.

    side, top, left: of the crop. mirror: below 1/2 the image is mirrored. colors: of brightness, contrast and
    saturation.
    """

    side: float
    top: float
    left: float
    mirror: float
    colors: tuple[float, float, float]


def draw(seed: int, epoch: int, place: int) -> Draw:
    """The numbers of the image at ``place`` of a training's images in an epoch."""
    side, top, left, mirror, *colors = counter_based(Purpose.SEGMENT_AUGMENTATION, seed, epoch, place).random(
        7
    )
    return Draw(side, top, left, mirror, (colors[0], colors[1], colors[2]))


def augmented(sample: Sample, size: tuple[int, int], how: Augmentation, drawn: Draw) -> Sample:
    """The sample at ``size`` (H, W), changed as drawn. A crop is resized once, from the original."""
    if how.crop is not None:
        sample = cropped(sample, *crop_box(sample.size, how.crop, drawn))
    sample = resized(sample, size)
    if how.flip and drawn.mirror < 0.5:
        sample = mirrored(sample, how.swap)
    if how.color is not None:
        sample = replace(sample, picture=_colored(sample.picture, how.color, drawn.colors))
    return sample


def crop_box(size: tuple[int, int], least: float, drawn: Draw) -> tuple[int, int, tuple[int, int]]:
    """First row, first column and (h, w) of a crop whose sides are the same part, ``least`` to 1, of both."""
    share = least + (1 - least) * drawn.side
    height, width = (max(1, round(share * length)) for length in size)
    top, left = (
        int(part * (whole - length + 1))
        for part, whole, length in zip((drawn.top, drawn.left), size, (height, width), strict=True)
    )
    return top, left, (height, width)


def _colored(
    picture: NDArray[np.uint8], most: float, colors: tuple[float, float, float]
) -> NDArray[np.uint8]:
    """Brightness, contrast and saturation, in this order, each times 1 - ``most`` to 1 + ``most``."""
    image: Image.Image = Image.fromarray(np.ascontiguousarray(picture))
    ways = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for way, number in zip(ways, colors, strict=True):
        image = way(image).enhance(1 + most * (2 * number - 1))
    return np.asarray(image)
