"""Reads labelled images of a store in whichever process asks: an image and its label, or its keypoints.

It goes from process to process: a pickle of it has no open store, and each process opens the store for itself
and makes sure that it is still the one that was opened first. It knows arrays, and not the library that
trains on them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fstore import format as fmt
from fstore.chunks import fetch_together
from fstore.encoded_array import EncodedArray
from fstore.errors import CorruptionError, StoreError
from fstore.inventory import read_inventory
from fstore.location import Location
from fstore.store import Store, check_unchanged


@dataclass(frozen=True)
class EncodedItem:
    """An item as its bytes on disk: the compressed chunks of its image and of its target."""

    place: int
    """Among the items."""
    chunks: tuple[bytes, ...]


@dataclass(frozen=True)
class _Opened:
    """The store as one process has it open. ``state`` is that of its ``zarr.json`` when it was opened."""

    process: int
    state: tuple[int, ...] | None
    arrays: tuple[EncodedArray, ...]


class LabelledItems:
    """Items 0 to n - 1, which are the images ``ids`` of a store. A class, because it keeps the store open.

    A target is the label of every pixel or, in a store of keypoints, these. ``with_filter``: whether another
    filter of a dataset makes it another store.
    """

    def __init__(self, store: Store, ids: np.ndarray, *, with_filter: bool) -> None:
        folder = store.location.folder
        here = folder if folder is None else folder.absolute()  # a worker may be in another folder
        self.location = Location(store.location.target if here is None else str(here), here)
        self.meta: fmt.Meta = store.meta
        self.ids = ids
        self._with_filter = with_filter
        self._opened: _Opened | None = None
        images = store.array("images").array
        target = store.array(self.target).array
        self.image_shape, self.target_shape = images.shape[1:], target.shape[1:]
        self.target_is_integer = target.dtype.kind == "u"
        self.images_of_file: int = (images.shards or images.chunks)[0]

    def __len__(self) -> int:
        return len(self.ids)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    @property
    def target(self) -> str:
        """The array of the targets."""
        if self.meta.keypoints is not None:
            return "keypoints"
        return "labels" if self.meta.kind == "dataset" else "masks"

    def open(self) -> None:
        """Open the store, anew where it is open. Raises StoreError where another has taken its place."""
        self._opened = None
        state = self._state()
        check_unchanged(self.location, self.meta, with_filter=self._with_filter)
        inventory = read_inventory(self.location)
        names = ("images", self.target)
        arrays = tuple(EncodedArray(inventory.array(name), self.location) for name in names)
        self._opened = _Opened(os.getpid(), state, arrays)

    def check(self) -> None:
        """Raise StoreError where another store has taken its place. Of a local one it looks at one file."""
        if self.location.folder is None or not self._is_open() or self._is_stale():
            self.open()

    def fetch(self, places: Sequence[int]) -> list[EncodedItem]:
        """Items as their bytes on disk. Raises StoreError, CorruptionError, UnreadableError."""
        try:
            fetched = self._fetch(places)
        except CorruptionError:
            self.open()  # it says what has changed, where that is the reason
            fetched = self._fetch(places)
        # Whoever writes a store anew changes its zarr.json before anything else. So what was read before a
        # look at it that finds no change belongs to the store that was opened.
        while self._is_stale():
            self.open()
            fetched = self._fetch(places)
        return fetched

    def decode(self, item: EncodedItem, image: np.ndarray) -> np.ndarray:
        """Write the item's image (H, W, 3) uint8 to ``image``; return its label (H, W), or keypoints (K, 3)
        float32, read-only.

        Raises CorruptionError.
        """
        try:
            return self._decode(item, image)
        except CorruptionError:
            # A dataset that is lengthened gets a new last file. Where the chunks lay in the old one says
            # nothing then, and a fresh look helps.
            self.open()
            (fresh,) = self.fetch([item.place])
            return self._decode(fresh, image)

    def _fetch(self, places: Sequence[int]) -> list[EncodedItem]:
        ids = self.ids[list(places)].tolist()
        chunks = [(array, [(i, *[0] * (array.array.ndim - 1)) for i in ids]) for array in self._arrays()]
        if self.location.folder is None:  # both arrays are asked for at once
            columns = fetch_together(chunks)
        else:
            columns = [array.fetch(some) for array, some in chunks]
        return [EncodedItem(*item) for item in zip(places, zip(*columns, strict=True), strict=True)]

    def _decode(self, item: EncodedItem, image: np.ndarray) -> np.ndarray:
        images, targets = self._arrays()
        index = int(self.ids[item.place])
        content, target = item.chunks
        images.decode((index, 0, 0, 0), content, image)
        return targets.decode((index, *[0] * (targets.array.ndim - 1)), target)[0]

    def _arrays(self) -> tuple[EncodedArray, ...]:
        if not self._is_open():
            self.open()
        assert self._opened is not None
        return self._opened.arrays

    def _is_open(self) -> bool:
        # What a parent opened does not count: neither its connections nor its event loop survive a fork.
        return self._opened is not None and self._opened.process == os.getpid()

    def _is_stale(self) -> bool:
        return self._opened is None or self._opened.state != self._state()

    def _state(self) -> tuple[int, ...] | None:
        """What changes whenever ``zarr.json`` is written; None where there is no such file, and at a URL."""
        if self.location.folder is None:
            return None
        try:
            found = os.stat(self.location.folder / "zarr.json")
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


def committed_items(store: Store) -> LabelledItems:
    """All committed images of a store. Raises StoreError where there are none."""
    if len(store) == 0:
        raise StoreError(f"{store.location}: none of its {store.num_images} images is committed yet")
    return LabelledItems(store, store.image_ids, with_filter=False)


def kept_items(store: Store, kept: np.ndarray) -> LabelledItems:
    """The images that a dataset's filter ``kept`` (N,) bool keeps. Raises StoreError where there are none."""
    if not kept.any():
        raise StoreError(f"{store.location}: its filter keeps none of {len(kept)} images; see `dgan filter`")
    return LabelledItems(store, store.image_ids[kept], with_filter=True)
