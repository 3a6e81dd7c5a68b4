"""Connected regions of equal labels in one mask, by union-find over the runs of its rows.

Pixels that touch at an edge or a corner are connected. It knows arrays, and no classes or pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Regions:
    """The R connected regions of a mask, in the order of their first pixels.

    index: (H, W) int64, the region of each pixel. labels, pixels: (R,), the label of each and its number of
    pixels. boxes: (R, 4) top, left, bottom, right; the last two are outside.
    """

    index: NDArray[np.int64]
    labels: NDArray[Any]
    pixels: NDArray[np.int64]
    boxes: NDArray[np.int64]

    @property
    def inner(self) -> NDArray[np.bool_]:
        """(R,): whether the region touches no side of the picture."""
        height, width = self.index.shape
        top, left, bottom, right = self.boxes.T
        return (top > 0) & (left > 0) & (bottom < height) & (right < width)


def connected_regions(mask: NDArray[Any]) -> Regions:
    """The regions of a mask (H, W) of whole numbers."""
    height, width = mask.shape
    begins = np.ones(mask.shape, bool)  # where a run of equal labels begins
    begins[:, 1:] = mask[:, 1:] != mask[:, :-1]
    run_of = (np.cumsum(begins.ravel()) - 1).reshape(mask.shape)  # [H, W]
    starts = np.flatnonzero(begins.ravel())
    lengths = np.diff(np.append(starts, mask.size))
    roots = _roots(len(starts), *_touching(mask, begins, run_of))
    _, region_of = np.unique(roots, return_inverse=True)
    num = int(region_of.max()) + 1 if len(starts) else 0
    rows, columns = starts // width, starts % width
    boxes = np.tile(np.array([height, width, 0, 0], np.int64), (num, 1))
    for side, values in ((0, rows), (1, columns)):
        np.minimum.at(boxes[:, side], region_of, values)
    for side, values in ((2, rows + 1), (3, columns + lengths)):
        np.maximum.at(boxes[:, side], region_of, values)
    labels = np.zeros(num, mask.dtype)
    labels[region_of] = mask.ravel()[starts]
    pixels = np.bincount(region_of, lengths, num).astype(np.int64)
    return Regions(region_of[run_of], labels, pixels, boxes)


def _touching(
    mask: NDArray[Any], begins: NDArray[np.bool_], run_of: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (above, below) of runs of one label that touch. Two runs overlap from where the later begins."""
    above, below = slice(None, -1), slice(1, None)
    left, right = slice(None, -1), slice(1, None)
    whole = slice(None)
    upper, lower = [], []
    for up, down, wanted in (
        ((above, whole), (below, whole), begins[:-1] | begins[1:]),
        ((above, left), (below, right), begins[1:, 1:]),  # corners
        ((above, right), (below, left), begins[:-1, 1:]),
    ):
        found = wanted & (mask[up] == mask[down])
        upper.append(run_of[up][found])
        lower.append(run_of[down][found])
    return np.concatenate(upper), np.concatenate(lower)


def _roots(num: int, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """(num,) the lowest number of each connected set, of the graph with edges (first[i], second[i])."""
    parent = np.arange(num)
    while (apart := parent[first] != parent[second]).any():
        one, other = parent[first[apart]], parent[second[apart]]
        np.minimum.at(parent, np.maximum(one, other), np.minimum(one, other))
        while (parent[parent] != parent).any():
            parent = parent[parent]
    return parent
