"""What open stores of both kinds share: the place, the committed images, and lazy dask arrays of them.

Nothing is read until it is asked for, and nothing here writes. dask is imported when the first lazy array is
made, because it takes longer to import than a small export takes to run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fstore import format as fmt
from fstore.chunks import CheckedArray
from fstore.display import describe, describe_html
from fstore.errors import StoreError
from fstore.inventory import Inventory
from fstore.location import Location, get_attribute
from fstore.views import View

if TYPE_CHECKING:
    import dask.array as da

_REPLACED = "is no longer the store that was opened"
_RUN_AGAIN = "run this again once nothing writes there"


class Store:
    """What both kinds share: the place, the committed images, lazy arrays of them."""

    meta: fmt.Meta

    def __init__(self, inventory: Inventory, image_ids: np.ndarray) -> None:
        self.location = inventory.location
        self.image_ids = image_ids
        self._inventory = inventory
        self._checked: dict[str, CheckedArray] = {}

    def array(self, name: str) -> CheckedArray:
        """An array with all N images, committed or not. Its reads refuse chunks that are absent or damaged.

        Raises StoreError where the array itself is absent, damaged or not what the format says.
        """
        if name not in self._checked:
            self._checked[name] = CheckedArray(self._inventory.array(name), self.location)
        return self._checked[name]

    def lazy(self, name: str) -> da.Array:
        """A dask array of one array's committed images, at positions 0 to n - 1. Its blocks are the shards; a
        slice of a block reads only the chunks that it needs.
        """
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
        import dask.array as da
        from dask.base import tokenize

        view = View((len(self.image_ids), *shape), dtype, self.image_ids, read)
        chunks = tuple(min(block, max(size, 1)) for block, size in zip(blocks, view.shape, strict=True))
        identity = (str(self.location), self.id, name, self.image_ids)
        token = f"fstore-{name}-{tokenize(identity)}"
        # Not fancy=False: dask 2026.8 then reads a whole block for one image, and slices afterwards.
        return da.from_array(view, chunks=chunks, name=token, meta=np.empty((0,) * view.ndim, dtype))

    @property
    def id(self) -> str:
        """Random text that the store got when it was created. A run that goes on with the store keeps it."""
        return str(self.meta.created["id"])

    @property
    def revision(self) -> int:
        """How often a feature store has been added to or corrected since it was created."""
        return int(self.meta.created.get("revision", 0))

    def check_unchanged(self) -> None:
        """Raise StoreError where the store at this place is no longer the one that was opened.

        A program that reads for a while calls it before it saves its result, so that the result does not name
        one store and hold what was read from another. It reads the attribute again: the id and the revision
        must be the same, and the filter of a dataset. Images that were committed meanwhile are no change;
        that a feature store was lengthened, or its annotations were corrected, is one.

        Readers hold no lock, for three reasons. A notebook that has a store open would keep everybody from
        going on with it or filtering it. A lock ends with its process, while a run that is resumed reads the
        store again. Network file systems and URLs often have no locks.
        """
        check_unchanged(self.location, self.meta)

    @property
    def num_images(self) -> int:
        """N: images that the store is made for, committed or not."""
        return self._inventory.num_images

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
        """Paths of the arrays that the format has for such a store."""
        return sorted(self._inventory.specs)

    def __repr__(self) -> str:
        return describe(self)

    def _repr_html_(self) -> str:
        return describe_html(self)

    def __len__(self) -> int:
        return len(self.image_ids)


def check_unchanged(location: Location, meta: fmt.Meta, *, with_filter: bool = True) -> None:
    """Do what ``Store.check_unchanged`` says for a store that was opened with ``meta``.

    ``with_filter``: whether another filter of a dataset is a change.
    """
    try:
        attribute = get_attribute(location.open_group()) or {}
    except StoreError as error:
        reason = str(error).removeprefix(f"{location}: ")
        raise StoreError(f"{location}: {_REPLACED} ({reason}); {_RUN_AGAIN}") from None
    if attribute.get("creating"):
        raise StoreError(f"{location}: {_REPLACED} (it is being written anew); {_RUN_AGAIN}")
    created, expected = attribute.get("created"), meta.created["id"]
    found = created.get("id") if isinstance(created, dict) else None
    if found != expected:
        raise StoreError(f"{location}: {_REPLACED} (id {found}, expected {expected}); {_RUN_AGAIN}")
    if isinstance(meta, fmt.DatasetMeta):
        if with_filter:
            _check_filter(location, attribute, meta)
    elif isinstance(created, dict) and created.get("revision", 0) != meta.created.get("revision", 0):
        raise StoreError(
            f"{location}: images were added or annotations corrected while it was read; {_RUN_AGAIN}"
        )


def _check_filter(location: Location, attribute: dict[str, Any], meta: fmt.DatasetMeta) -> None:
    rule = None if meta.filter is None else meta.filter.to_json()
    found, expected = attribute.get("keep"), meta.keep
    if (found, attribute.get("threshold"), attribute.get("filter")) != (expected, meta.threshold, rule):
        raise StoreError(
            f"{location}: its filter was changed while it was read (keep {found}, expected "
            f"{expected}); {_RUN_AGAIN}"
        )
