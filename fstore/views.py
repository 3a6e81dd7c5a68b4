"""The array that dask slices: it has only the committed images, and reads only those that are asked for.

It knows indices and regions. It knows no files and no layouts: a function that it is given does the reading.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fstore import format as fmt


class View:
    """What dask slices: n committed images of something that ``read(region)`` gives for a run of image
    indices.

    An index has an integer, a slice or a list of integers for each axis, each taken by itself.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: str, ids: np.ndarray, read: Callable[[fmt.Region], np.ndarray]
    ) -> None:
        self.shape, self.dtype, self.ndim = shape, np.dtype(dtype), len(shape)
        self._ids, self._read = ids, read

    def __getitem__(self, key: Any) -> np.ndarray:
        key = key if isinstance(key, tuple) else (key,)
        key += (slice(None),) * (self.ndim - len(key))
        places = [_places(k, size) for k, size in zip(key, self.shape, strict=True)]
        images, image_order = np.unique(places[0], return_inverse=True)
        spans = [_span(axis_places) for axis_places in places[1:]]
        values = self._images(images, spans)
        orders = [image_order, *(p - first for p, (first, _) in zip(places[1:], spans, strict=True))]
        for axis, order in enumerate(orders):
            values = _taken(values, axis, order)
        return values[tuple(0 if isinstance(k, int | np.integer) else slice(None) for k in key)]

    def _images(self, images: np.ndarray, spans: list[tuple[int, int]]) -> np.ndarray:
        """The same spans of some images, positions in ascending order."""
        out = np.empty([len(images), *(stop - start for start, stop in spans)], self.dtype)
        ids = self._ids[images]
        place = 0
        # Images that follow one another on disk come with one read.
        for run in np.split(ids, np.flatnonzero(np.diff(ids) != 1) + 1):
            if len(run):
                out[place : place + len(run)] = self._read(((int(run[0]), int(run[-1]) + 1), *spans))
                place += len(run)
        return out


def _places(key: Any, size: int) -> np.ndarray:
    """What an index, a slice or a list selects of an axis: positions of 0 to ``size`` - 1, in its order."""
    if isinstance(key, slice):
        return np.arange(size)[key]
    places = np.atleast_1d(np.asarray(key, dtype=np.int64))
    places = np.where(places < 0, places + size, places)
    if not ((places >= 0) & (places < size)).all():
        raise IndexError(f"index {key} is out of range for an axis of {size}")
    return places


def _span(places: np.ndarray) -> tuple[int, int]:
    """The least contiguous range [start, stop) that holds all of them."""
    return (int(places.min()), int(places.max()) + 1) if len(places) else (0, 0)


def _taken(values: np.ndarray, axis: int, order: np.ndarray) -> np.ndarray:
    """The values of an axis in an order; as they are where that changes nothing."""
    if np.array_equal(order, np.arange(values.shape[axis])):
        return values
    return values.take(order, axis)
