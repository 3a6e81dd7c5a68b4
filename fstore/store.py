"""What an open store of either kind is: its place, its committed images, lazy dask arrays of them.

Nothing is read until it is asked for, and nothing here writes.
"""

from __future__ import annotations

from collections.abc import Callable

import dask.array as da
import numpy as np
import zarr
from dask.base import tokenize

from fstore import format as fmt
from fstore.chunks import CheckedArray
from fstore.display import describe, describe_html
from fstore.errors import StoreError
from fstore.location import Location, get_array
from fstore.views import View


class Store:
    """What both kinds share: the place, the committed images, lazy arrays of them."""

    meta: fmt.Meta

    def __init__(self, location: Location, group: zarr.Group, image_ids: np.ndarray) -> None:
        self.location = location
        self._group = group
        self.image_ids = image_ids
        self._checked: dict[str, CheckedArray] = {}

    def array(self, name: str) -> CheckedArray:
        """The array on disk, all N images of it, read with absent and damaged chunks refused."""
        if name not in self._checked:
            array = get_array(self._group, name)
            if array is None:
                raise StoreError(
                    f"{self.location}: array {name!r} is missing; the store is not whole, run `dgan verify`"
                )
            self._checked[name] = CheckedArray(array, str(self.location))
        return self._checked[name]

    def lazy(self, name: str) -> da.Array:
        """A dask array of the committed images of one array, compacted; blocks follow the shards."""
        checked = self.array(name)
        array = checked.array
        return self._dask(name, array.shape[1:], str(array.dtype), array.shards or array.chunks, checked.read)

    def _dask(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: str,
        blocks: tuple[int, ...],
        read: Callable[[fmt.Region], np.ndarray],
    ) -> da.Array:
        view = View((len(self.image_ids), *shape), dtype, self.image_ids, read)
        chunks = tuple(min(block, max(size, 1)) for block, size in zip(blocks, view.shape, strict=True))
        identity = (str(self.location), name, self.image_ids.tolist(), self.meta.to_attribute())
        token = f"fstore-{name}-{tokenize(identity)}"
        return da.from_array(
            view, chunks=chunks, name=token, asarray=True, fancy=False, meta=np.empty((0,) * view.ndim, dtype)
        )

    @property
    def num_images(self) -> int:
        """N: images that the store is made for, committed or not."""
        return int(self.array("committed").array.shape[0])

    @property
    def images(self) -> da.Array:
        """(n, H, W, 3) uint8."""
        return self.lazy("images")

    @property
    def latents(self) -> da.Array:
        """(n, D) or (n, L, D) float32."""
        return self.lazy("latents")

    @property
    def keypoints(self) -> da.Array:
        """(n, K, 3) float32: x, y in pixels, the centre of pixel (row, column) at (column, row) + 0.5; then
        1 or 0 in a feature store, where 0 is not labelled, and the confidence in a dataset. Raises StoreError
        for a store without keypoints.
        """
        if self.meta.keypoints is None:
            raise StoreError(f"{self.location}: is a store of labels, it has no keypoints")
        return self.lazy("keypoints")

    def array_names(self) -> list[str]:
        """Paths of all arrays of the group."""
        return sorted(name for name, item in self._group.members(max_depth=2) if isinstance(item, zarr.Array))

    def __repr__(self) -> str:
        return describe(self)

    def _repr_html_(self) -> str:
        return describe_html(self)

    def __len__(self) -> int:
        return len(self.image_ids)
