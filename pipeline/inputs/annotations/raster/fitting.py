"""Brings an annotation of any size to the feature grid: resizes and crops a mask, and drops small classes.

It knows neither files nor what labels mean.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import UsageError

BACKGROUND = 0


def resize_nearest(labels: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """(h, w) -> (height, width), nearest at pixel centres: source index floor((i + 0.5) * in / out)."""
    rows = (2 * np.arange(height) + 1) * labels.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * labels.shape[1] // (2 * width)
    return labels[rows[:, None], columns[None, :]]  # [height, width]


def stretch_nearest(labels: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """(h, w) -> (height, width) of the same dtype, as Pillow resizes to the nearest, and the released code.

    Where a pixel's centre falls on the border of two, Pillow's sums of floats decide, and `resize_nearest`
    may choose the other. Labels have at most 31 bits.
    """
    if labels.shape == (height, width):
        return labels
    image = Image.fromarray(np.ascontiguousarray(labels, np.int32))
    return np.asarray(image.resize((width, height), Image.Resampling.NEAREST)).astype(labels.dtype)


def fit_to_grid(
    path: str, labels: NDArray[Any], grid: tuple[int, int], rows: tuple[int, int]
) -> NDArray[Any]:
    """(h, w) -> (b - a, Wg), resized and cropped as ``raster_of`` says."""
    height, width = labels.shape
    target, top = raster_of(f"{path}: the mask", (height, width), grid, rows)
    return resize_nearest(labels, *target)[top : top + rows[1] - rows[0]]  # [H, W]


def raster_of(
    what: str, size: tuple[int, int], grid: tuple[int, int], rows: tuple[int, int]
) -> tuple[tuple[int, int], int]:
    """The (h, w) to which an image of ``size`` is resized, and the first row of it that is kept.

    An image with the aspect of the grid is resized to the grid, and then cropped. One with the aspect of the
    crop is resized to the crop.

    Raises UsageError, one line beginning with ``what``, for another aspect.
    """
    cropped = (rows[1] - rows[0], grid[1])
    to_grid, to_cropped = aspect_error(size, grid), aspect_error(size, cropped)
    if min(to_grid, to_cropped) >= 1:
        either = "" if cropped == grid else f", or of the cropped {cropped[0]} x {cropped[1]}"
        raise UsageError(
            f"{what} is {size[0]} x {size[1]} (rows x columns); expected the aspect of the grid, "
            f"{grid[0]} x {grid[1]}{either}"
        )
    return (grid, rows[0]) if to_grid <= to_cropped else (cropped, 0)


def aspect_error(size: tuple[int, int], target: tuple[int, int]) -> Fraction:
    """By how many pixels one side of ``size`` misses the length that the other gives it at that aspect."""
    return Fraction(abs(size[0] * target[1] - size[1] * target[0]), max(target))


def drop_small_classes(mask: NDArray[Any], min_pixels: int, ignore: int | None, target: int | None) -> None:
    """In place: every class but background with fewer than ``min_pixels`` pixels becomes ``target``."""
    present, counts = np.unique(mask, return_counts=True)
    for label, count in zip(present.tolist(), counts.tolist(), strict=True):
        if count < min_pixels and label not in (BACKGROUND, ignore):
            mask[mask == label] = target
