"""Writes aligned regions of a store's arrays durably: files, then the folders with their names, then markers.

It knows regions, shards and markers. It does not know what a store is for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import zarr
from zarr.core.sync import sync

from fstore import format as fmt
from fstore.chunks import read_markers
from fstore.creation import open_for_writing
from fstore.durable import sync_file, sync_folders
from fstore.inventory import chunk_key
from fstore.location import Location
from fstore.objects import delete_url


class ShardWriter:
    """The arrays of a group, open for writing. A class, because opening them takes time."""

    def __init__(self, location: Location, group: zarr.Group, specs: Sequence[fmt.ArraySpec]) -> None:
        self.location = location
        self.specs = {spec.name: spec for spec in specs}
        self.arrays = {spec.name: open_for_writing(group, spec, location) for spec in specs}

    def markers(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Which of images [start, stop) are committed, as bool; see ``read_markers``."""
        return read_markers(self.arrays["committed"], self.location, start, stop)

    def clear(self, name: str, first: int) -> None:
        """Delete what an unfinished attempt left at ``first``, the leading coordinate of its shards: zarr
        would merge into a damaged shard at the array's end, not replace it. At a URL only such shards are
        deleted: a put replaces every other, and nothing is listed."""
        array = self.arrays[name]
        if self.location.folder is None:
            if edge := fmt.edge_units(self.specs[name], first):
                delete_url(self.location.target, [chunk_key(array, unit) for unit in edge])
        elif array.ndim == 1:
            sync(array.store.delete(chunk_key(array, [first])))
        else:
            sync(array.store.delete_dir(f"{array.path}/c/{first}"))

    def write(self, name: str, values: np.ndarray, start: tuple[int, ...]) -> list[str]:
        """Write ``values`` at ``start`` and sync the files. Returns their keys, for ``commit``.

        Raises StoreError when the region is not aligned to shards.
        """
        spec, array = self.specs[name], self.arrays[name]
        region = tuple((first, first + length) for first, length in zip(start, values.shape, strict=True))
        fmt.check_aligned(spec, region)
        array[tuple(slice(a, b) for a, b in region)] = values
        keys = [chunk_key(array, shard) for shard in fmt.units(region, spec.shards or spec.chunks)]
        for key in keys:
            sync_file(self.location, key)
        return keys

    def commit(self, start: int, count: int, keys: Iterable[str]) -> None:
        """Mark images as whole, after every folder that their files ``keys`` are named in is on the disk."""
        sync_folders(self.location, keys)
        self.set_markers(start, np.ones(count, dtype=np.uint8))

    def set_markers(self, start: int, values: np.ndarray) -> None:
        """Write markers from image ``start`` on, whole chunks of them, and force them to the disk."""
        sync_folders(self.location, self.write("committed", values, (start,)))
