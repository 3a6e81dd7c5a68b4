"""Writing aligned regions of a store's arrays durably: files first, then the folders that name them, then the
marker.

It knows regions, shards and markers, not what a store is for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import zarr
from zarr.core.sync import sync

from fstore import format as fmt
from fstore.creation import open_for_writing
from fstore.location import Location, chunk_key, sync_file, sync_folders


class ShardWriter:
    """Writes aligned regions of a group's arrays, and remembers which folders to force to disk before a
    marker.
    """

    def __init__(self, location: Location, group: zarr.Group, specs: Sequence[fmt.ArraySpec]) -> None:
        self.location = location
        self.specs = {spec.name: spec for spec in specs}
        self.arrays = {spec.name: open_for_writing(group, spec.name) for spec in specs}
        self._keys: list[str] = []

    def clear(self, name: str, first: int) -> None:
        """Delete what an unfinished attempt left at ``first``, the leading coordinate of its shards: zarr
        would merge into a damaged shard at the array's end, not replace it."""
        array = self.arrays[name]
        if array.ndim == 1:
            sync(array.store.delete(chunk_key(array, [first])))
        else:
            sync(array.store.delete_dir(f"{array.path}/c/{first}"))

    def write(self, name: str, values: np.ndarray, start: tuple[int, ...]) -> None:
        """Write ``values`` at ``start`` and sync the file. Raises StoreError when the region is not aligned
        to shards.
        """
        spec, array = self.specs[name], self.arrays[name]
        region = tuple((first, first + length) for first, length in zip(start, values.shape, strict=True))
        fmt.check_aligned(spec, region)
        array[tuple(slice(a, b) for a, b in region)] = values
        unit = spec.shards or spec.chunks
        for shard in fmt.units(region, unit):
            key = chunk_key(array, shard)
            sync_file(self.location, key)
            self._keys.append(key)

    def commit(self, start: int, count: int) -> None:
        """Mark images as whole: after every folder that their files are named in is on the disk."""
        sync_folders(self.location, self._keys)
        self._keys.clear()
        self.write("committed", np.ones(count, dtype=np.uint8), (start,))
        sync_folders(self.location, self._keys)
        self._keys.clear()
