"""Masks that fit the picture of another image far better than their own: two files may have been exchanged.

Pure functions of small pictures. It knows no files and no classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 64  # pixels of the larger side at which pictures are compared
MAX_COMPARED = 100  # images: each mask is laid over each picture
MIN_TIMES = 1.15  # as much change of colour along the boundaries on the other picture as on its own
MIN_OF_OWN = 0.75  # of how well a mask fits its own picture, in the middle of all images


class Outlines:
    """The boundaries and the edges of up to MAX_COMPARED images, small. A class, because images come one by
    one.
    """

    def __init__(self) -> None:
        self.images: list[int] = []
        self._boundaries: list[NDArray[np.float32]] = []
        self._edges: list[NDArray[np.float32]] = []

    def add(self, image: int, mask: NDArray[Any], picture: NDArray[np.uint8]) -> None:
        """One more image: its place, its mask (H, W), its picture (H, W, 3). Those beyond the limit are left
        out.
        """
        if len(self.images) == MAX_COMPARED:
            return
        self.images.append(image)
        self._boundaries.append(boundary(mask).ravel())
        self._edges.append(edges(picture).ravel())

    def swapped(self) -> list[tuple[int, int]]:
        """(image, the image whose picture its mask fits better) pairs."""
        if len(self.images) < 2:
            return []
        fits = fit(np.stack(self._boundaries), np.stack(self._edges))
        return [(self.images[mask], self.images[other]) for mask, other in better_elsewhere(fits)]


def fit(boundaries: NDArray[np.float32], pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, n): the mean of picture j's edges along mask i's boundaries, from (n, pixels) of both.

    0 for a mask without a boundary.
    """
    shares = boundaries / np.maximum(boundaries.sum(axis=1, keepdims=True), 1)
    found: NDArray[np.float32] = shares @ pictures.T
    return found


def better_elsewhere(fits: NDArray[np.float32]) -> list[tuple[int, int]]:
    """(i, j) where mask i fits picture j at least MIN_TIMES as well as its own, and as well as masks do fit.

    The second keeps out a mask that fits no picture, as one that is moved by many pixels.
    """
    others = fits.copy()
    np.fill_diagonal(others, -1)
    best = others.argmax(axis=1)
    value, own = others[np.arange(len(best)), best], fits.diagonal()
    fit = (value > 0) & (value >= MIN_TIMES * own) & (value >= MIN_OF_OWN * np.median(own))
    return [(int(i), int(best[i])) for i in np.flatnonzero(fit)]


def boundary(mask: NDArray[Any]) -> NDArray[np.float32]:
    """(h, w) 1 where a pixel of the reduced mask differs from the next below or to the right, else 0."""
    height, width = mask.shape
    small = mask[np.ix_(_centres(height, max(mask.shape)), _centres(width, max(mask.shape)))]
    found = np.zeros(small.shape, np.float32)
    found[:-1] += small[1:] != small[:-1]
    found[:, :-1] += small[:, 1:] != small[:, :-1]
    return np.minimum(found, 1)


def edges(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(h, w) the change of colour to the next pixel below and to the right, divided by the picture's mean."""
    height, width = picture.shape[:2]
    rows, columns = _bounds(height, max(height, width)), _bounds(width, max(height, width))
    sums = np.add.reduceat(np.add.reduceat(picture.astype(np.float32), rows[:-1], 0), columns[:-1], 1)
    small = sums / (np.diff(rows)[:, None, None] * np.diff(columns)[None, :, None])  # [h, w, 3]
    squares: NDArray[np.floating] = np.zeros(small.shape[:2], np.float32)
    squares[:-1] += np.square(np.diff(small, axis=0)).sum(axis=2)
    squares[:, :-1] += np.square(np.diff(small, axis=1)).sum(axis=2)
    changes = np.sqrt(squares)
    return (changes / max(float(changes.mean()), 1e-6)).astype(np.float32)


def _bounds(size: int, larger: int) -> NDArray[np.int64]:
    """Where each of the reduced pixels of a side begins, and the side's end."""
    num = max(1, round(size * min(1.0, SIDE / larger)))
    return np.arange(num + 1) * size // num


def _centres(size: int, larger: int) -> Sequence[int]:
    bounds = _bounds(size, larger)
    return [int(middle) for middle in (bounds[:-1] + bounds[1:]) // 2]
