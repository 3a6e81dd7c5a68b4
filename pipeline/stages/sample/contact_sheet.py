"""A sheet of numbered thumbnails, to see at a glance which images there are to annotate.

It knows pictures and numbers, and nothing of where they come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

THUMBNAIL = 128  # pixels of a thumbnail's longer side
STRIP = 14  # rows under each for its number
GAP = 4
PAPER, INK = (255, 255, 255), (0, 0, 0)


def thumbnail(picture: NDArray[np.uint8], side: int = THUMBNAIL) -> Image.Image:
    """(H, W, 3) uint8 with its longer side reduced to ``side``, or enlarged to at most that.

    A small picture is enlarged by a whole number, so that every pixel of it is a square of equal pixels.
    """
    image = Image.fromarray(np.ascontiguousarray(picture))
    times = side // max(image.size)
    if times > 1:
        return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    image.thumbnail((side, side), Image.Resampling.BOX)
    return image


def contact_sheet(thumbnails: Sequence[Image.Image], numbers: Sequence[int]) -> Image.Image:
    """The thumbnails in rows, each with its number below. Raises ValueError where there are none."""
    if not thumbnails or len(thumbnails) != len(numbers):
        raise ValueError(f"got {len(thumbnails)} thumbnails and {len(numbers)} numbers; expected as many")
    width = max(image.width for image in thumbnails) + GAP
    height = max(image.height for image in thumbnails) + STRIP + GAP
    columns = ceil(sqrt(len(thumbnails) * height / width))  # about as wide as high
    rows = ceil(len(thumbnails) / columns)
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for place, (image, number) in enumerate(zip(thumbnails, numbers, strict=True)):
        row, column = divmod(place, columns)
        corner = (GAP + column * width, GAP + row * height)
        sheet.paste(image, corner)
        draw.text((corner[0], corner[1] + image.height + 1), str(number), fill=INK, font=font)
    return sheet
