"""Chooses the images that are held out of training, and the pixels on which an ensemble is validated.

Pure functions of the class index, masks and a seed. Nothing here reads a store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

VALIDATION_SIDE = 64  # rows and columns of an image whose heat maps are validated, where sigma allows


class Purpose(IntEnum):
    """What a random stream is for: streams of different purposes are independent."""

    SPLIT = 0
    VALIDATION = 1


@dataclass(frozen=True)
class Split:
    """Positions in the store, ascending and disjoint. An image without a labelled pixel is in neither."""

    training: tuple[int, ...]
    held_out: tuple[int, ...]


@dataclass(frozen=True)
class ValidationPixels:
    """P held-out pixels: positions of their images in the store, rows, columns, labels, each (P,) int64."""

    images: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    labels: np.ndarray


def split_images(present: np.ndarray, held_out: float, seed: int) -> Split:
    """Hold out ``round(held_out * n)`` of the n labelled images: at least one where there are two, never all.

    ``present`` (N, K) bool: whether an image has pixels of a class. Images are taken in an order that depends
    on the seed. An image whose loss would leave a class without a training image is taken only where the
    others are too few.
    """
    labelled = np.flatnonzero(present.any(axis=1))
    wanted = 0
    if held_out > 0 and len(labelled) >= 2:
        wanted = min(max(1, round(held_out * len(labelled))), len(labelled) - 1)
    order = _stream(seed, Purpose.SPLIT).permutation(labelled)
    images_of_class = present.sum(axis=0)  # [K], of those still in training
    chosen: list[int] = []
    for spare_needed in (True, False):
        for image in order:
            fits = not spare_needed or (images_of_class[present[image]] >= 2).all()
            if len(chosen) < wanted and image not in chosen and fits:
                chosen.append(int(image))
                images_of_class = images_of_class - present[image]
    return Split(tuple(int(i) for i in labelled if i not in chosen), tuple(sorted(chosen)))


def choose_validation(
    masks: np.ndarray, images: Sequence[int], drawable: np.ndarray, num_pixels: int, seed: int
) -> ValidationPixels:
    """At most ``num_pixels`` pixels, uniform without replacement over all pixels of drawable classes.

    ``masks`` (m, H, W) belong to ``images``, positions in the store. ``drawable`` (K,) bool excludes the
    ignore label; labels outside [0, K) are never chosen. Ordered by image, row and column.
    """
    inside = masks < len(drawable)
    candidates = np.flatnonzero(inside & drawable[np.where(inside, masks, 0)])
    if len(candidates) > num_pixels:
        candidates = _stream(seed, Purpose.VALIDATION).choice(candidates, num_pixels, replace=False)
        candidates.sort()
    image, row, column = np.unravel_index(candidates, masks.shape)
    labels = masks.reshape(-1)[candidates].astype(np.int64)
    return ValidationPixels(np.asarray(images, dtype=np.int64)[image], row, column, labels)


def validation_grid(
    height: int, width: int, sigma: float, num_pixels: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """The regular grid of an image's pixels on which heat maps are validated: rows, columns, their distance.

    It has at most 64 x 64 pixels where these are two sigma apart or less. A heat map is then exp(-1) or more
    at its highest pixel, and its peak is found between the pixels. Else the grid is finer, up to
    ``num_pixels``: an image's features with 5,088 channels take 42 MB on 64 x 64 pixels, and 667 MB on
    256 x 256. Where that bound leaves the pixels more than two sigma apart, some peaks fall between them, and
    PCK is an underestimate. With the default of 20,000 pixels this is so for sigma below 1/282 of a square
    image's side.
    """
    coarsest = -(-max(height, width) // VALIDATION_SIDE)
    stride = min(coarsest, max(1, int(2 * sigma)))
    while stride < coarsest and _grid_size(height, stride) * _grid_size(width, stride) > num_pixels:
        stride += 1
    rows, columns = (np.arange(min(stride, size) // 2, size, stride) for size in (height, width))
    return rows, columns, stride


def _grid_size(size: int, stride: int) -> int:
    return len(range(min(stride, size) // 2, size, stride))


def validation_images(held_out: Sequence[int], image_pixels: int, num_pixels: int) -> tuple[int, ...]:
    """The held-out images whose heat maps are validated on ``image_pixels`` each: as many as ``num_pixels``
    has room for, at least one.
    """
    return tuple(held_out[: max(1, num_pixels // image_pixels)])


def _stream(seed: int, purpose: Purpose) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence((seed, int(purpose)), spawn_key=(1,)))
