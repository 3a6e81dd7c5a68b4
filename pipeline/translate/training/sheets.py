"""Sample sheets: a row an image, on the left what a generator made of it, on the right the image.

Both directions stand side by side: G_AB(A), A, a gap, G_BA(B), B. It knows pixels, and no networks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MOST_ROWS = 8
GAP = 4  # pixels between images, and twice as much between the directions
LATEST = "latest.png"
Pictures = NDArray[np.uint8]


def has_sheet(epoch: int) -> bool:
    """Whether the sheet of an epoch (1, 2, ...) is kept: of the first ten, then of every tenth, from the
    hundredth on of every hundredth, and so on. So there are few of any number of epochs, and which there are
    does not depend on how many will follow.
    """
    return epoch % 10 ** (len(str(epoch)) - 1) == 0


def sheet_name(epoch: int) -> str:
    """The file of an epoch's sheet."""
    return f"epoch_{epoch:05d}.png"


def sheet(columns: list[Pictures]) -> Pictures:
    """Four columns of pictures (n, R, R, 3), the last two perhaps shorter, to one picture on white."""
    rows, side = max(map(len, columns)), max(column.shape[1] for column in columns)
    lefts = [0, side + GAP, 2 * side + 3 * GAP, 3 * side + 4 * GAP]
    height, width = rows * (side + GAP) - GAP, lefts[-1] + side
    page = np.full((height, width, 3), 255, np.uint8)
    for left, column in zip(lefts, columns, strict=True):
        for row, picture in enumerate(column):
            top = row * (side + GAP)
            page[top : top + side, left : left + side] = picture
    return page


def write_sheet(path: Path, page: Pictures) -> None:
    """Write a PNG."""
    Image.fromarray(page).save(path, format="PNG")
