"""What an open store of either kind is: its place, its committed images, lazy dask arrays of them.

Nothing is read until it is asked for, and nothing here writes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
import zarr
from dask.base import tokenize

from fstore import format as fmt
from fstore.chunks import CheckedArray
from fstore.display import describe, describe_html
from fstore.errors import StoreError
from fstore.location import Location, get_array, get_attribute
from fstore.views import View

_REPLACED = "is no longer the store that was opened"
_RUN_AGAIN = "run this again once nothing writes there"


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
    def id(self) -> str:
        """The store's own: written when it was created, the same as long as it is gone on with."""
        return str(self.meta.created["id"])

    def check_unchanged(self) -> None:
        """Raise StoreError where another store, or none, now lies at the place that this one was read from.

        Whoever reads for longer calls it before saving what came of that, so that no result names one store
        and holds another. It reads the attribute again: the id must be the same, and a dataset's filter.
        Images that were committed meanwhile are no change.

        It is no lock, and a lock would not do: a reader that held one would keep a store from being gone on
        with or filtered as long as a notebook has it open, locks end with the process while a resumed run
        reads the store again, and network file systems and URLs often have none.
        """
        try:
            attribute = get_attribute(self.location.open_group()) or {}
        except StoreError as error:
            reason = str(error).removeprefix(f"{self.location}: ")
            raise StoreError(f"{self.location}: {_REPLACED} ({reason}); {_RUN_AGAIN}") from None
        if attribute.get("creating"):
            raise StoreError(f"{self.location}: {_REPLACED} (it is being written anew); {_RUN_AGAIN}")
        created = attribute.get("created")
        found = created.get("id") if isinstance(created, dict) else None
        if found != self.id:
            raise StoreError(f"{self.location}: {_REPLACED} (id {found}, expected {self.id}); {_RUN_AGAIN}")
        if isinstance(self.meta, fmt.DatasetMeta):
            self._check_filter(attribute, self.meta)

    def _check_filter(self, attribute: dict[str, Any], meta: fmt.DatasetMeta) -> None:
        found, expected = attribute.get("keep"), meta.keep
        if (found, attribute.get("threshold")) != (expected, meta.threshold):
            raise StoreError(
                f"{self.location}: its filter was changed while it was read (keep {found}, expected "
                f"{expected}); {_RUN_AGAIN}"
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
