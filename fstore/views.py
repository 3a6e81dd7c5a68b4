"""The array that dask slices: committed images only, compacted, read in contiguous runs.

It knows indices and regions, not files nor layouts: what it is given reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fstore import format as fmt


class View:
    """What dask slices: n committed images of something that ``read(region)`` gives for a run of image
    indices.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: str, ids: np.ndarray, read: Callable[[fmt.Region], np.ndarray]
    ) -> None:
        self.shape, self.dtype, self.ndim = shape, np.dtype(dtype), len(shape)
        self._ids, self._read = ids, read

    def __getitem__(self, key: Any) -> np.ndarray:
        key = key if isinstance(key, tuple) else (key,)
        key += (slice(None),) * (self.ndim - len(key))
        ranges = [_bounds(k, size) for k, size in zip(key, self.shape, strict=True)]
        values = self._contiguous(ranges)
        within = tuple(
            _within(k, size, start) if isinstance(k, slice) else 0
            for k, size, (start, _) in zip(key, self.shape, ranges, strict=True)
        )
        return values[within]

    def _contiguous(self, ranges: list[tuple[int, int]]) -> np.ndarray:
        out = np.empty([stop - start for start, stop in ranges], self.dtype)
        ids = self._ids[slice(*ranges[0])]
        place = 0
        # Images that follow one another on disk come with one read.
        for run in np.split(ids, np.flatnonzero(np.diff(ids) != 1) + 1):
            if len(run):
                out[place : place + len(run)] = self._read(((int(run[0]), int(run[-1]) + 1), *ranges[1:]))
                place += len(run)
        return out


def _bounds(key: Any, size: int) -> tuple[int, int]:
    """The least contiguous range [start, stop) that holds what an index or a slice, strided or not,
    selects.
    """
    if isinstance(key, slice):
        selected = range(*key.indices(size))
        return (min(selected), max(selected) + 1) if selected else (0, 0)
    index = int(key) + (size if key < 0 else 0)
    if not 0 <= index < size:
        raise IndexError(f"index {key} is out of range for an axis of {size}")
    return index, index + 1


def _within(key: slice, size: int, start: int) -> slice:
    """A slice of the whole axis as one of the range that begins at ``start``."""
    first, stop, step = key.indices(size)
    end = stop - start
    return slice(first - start, None if end < 0 else end, step) if range(first, stop, step) else slice(0, 0)
