"""Bringing a mask of any size to the feature grid: nearest-neighbour resizing, the crop, and small classes.

Knows neither files nor what labels mean.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError

BACKGROUND = 0


def resize_nearest(labels: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """(h, w) -> (height, width), nearest at pixel centres: source index floor((i + 0.5) * in / out)."""
    rows = (2 * np.arange(height) + 1) * labels.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * labels.shape[1] // (2 * width)
    return labels[rows[:, None], columns[None, :]]  # [height, width]


def fit_to_grid(
    path: str, labels: NDArray[Any], grid: tuple[int, int], rows: tuple[int, int]
) -> NDArray[Any]:
    """(h, w) -> (b - a, Wg): the grid's aspect is resized, then cropped; the crop's is resized."""
    cropped = (rows[1] - rows[0], grid[1])
    to_grid, to_cropped = _aspect_error(labels.shape, grid), _aspect_error(labels.shape, cropped)
    if min(to_grid, to_cropped) >= 1:
        either = "" if cropped == grid else f", or of the cropped {cropped[0]} x {cropped[1]}"
        raise UsageError(
            f"{path}: the mask is {labels.shape[0]} x {labels.shape[1]} (rows x columns); "
            f"expected the aspect of the grid, {grid[0]} x {grid[1]}{either}"
        )
    if to_grid <= to_cropped:
        return resize_nearest(labels, *grid)[rows[0] : rows[1]]  # [H, W]
    return resize_nearest(labels, *cropped)  # [H, W]


def _aspect_error(shape: tuple[int, ...], target: tuple[int, int]) -> Fraction:
    """By how many pixels one side of ``shape`` misses the length that the other gives it at that aspect."""
    return Fraction(abs(shape[0] * target[1] - shape[1] * target[0]), max(target))


def drop_small_classes(mask: NDArray[Any], min_pixels: int, ignore: int | None, target: int | None) -> None:
    """In place: every class but background with fewer than ``min_pixels`` pixels becomes ``target``."""
    present, counts = np.unique(mask, return_counts=True)
    for label, count in zip(present.tolist(), counts.tolist(), strict=True):
        if count < min_pixels and label not in (BACKGROUND, ignore):
            mask[mask == label] = target
