"""The open store as the page sees it: what is committed, and single images of it, from any thread.

A store may be written while it is looked at: a reload of the page shows more. It may also be replaced by
another one. Then a picture of the new one must not stand in the page of the old one, so each state has a
``key``, which the page names when it asks. This module knows stores and no HTTP.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from threading import Lock
from time import monotonic

import numpy as np

import fstore
from fstore import format as fmt
from fstore.errors import CorruptionError, StoreError
from fstore.location import Location
from fstore.store import Store, check_unchanged
from pipeline.reports.dataset_filter import scores_of

URL_CHECK_SECONDS = 5.0  # at a URL a look at the attribute is a request
KEY_CHARACTERS = 12


class ReplacedError(Exception):
    """The store is not the one that the page was made of."""


class NoImageError(Exception):
    """The store has no committed image of that index."""


@dataclass(frozen=True)
class Snapshot:
    """A store as it was at one time.

    uncertainty: (n,) float32, what the filter of the committed images goes by, kept: (n,) bool; None where
    the store has none.
    """

    store: fstore.Dataset | fstore.FeatureStore
    key: str
    uncertainty: np.ndarray | None
    kept: np.ndarray | None
    state: tuple[int, ...] | None
    """That of its zarr.json, which whoever writes the store anew changes before anything else."""

    @property
    def is_final(self) -> bool:
        """Whether all its images are there, so that only a change of its zarr.json can change it."""
        return self.state is not None and len(self.store) == self.store.num_images

    @property
    def is_dataset(self) -> bool:
        """Whether the images were labelled by an interpreter; else they were annotated."""
        return isinstance(self.store, fstore.Dataset)

    def check_committed(self, image: int) -> None:
        """Raise NoImageError where no image of that index is committed."""
        ids = self.store.image_ids
        place = int(np.searchsorted(ids, image))
        if place == len(ids) or ids[place] != image:
            raise NoImageError(f"image {image} is not among the {len(ids):,} that are committed")


class Content:
    """A store that is open to be shown. A class, because the store is opened anew when it has changed."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._lock = Lock()
        self._checked_seconds = monotonic()
        self._snapshot = _taken(place)

    def newest(self) -> Snapshot:
        """The store as it is now. Raises StoreError where there is none, or it is damaged."""
        with self._lock:
            last = self._snapshot
            if not (last.is_final and last.state == _state(last.store)):
                self._snapshot = _taken(self._place)
            return self._snapshot

    def of_key(self, key: str) -> Snapshot:
        """The newest snapshot, if a page of ``key`` may show it. Raises ReplacedError."""
        snapshot = self._snapshot
        self._check(snapshot)
        if snapshot.key != key:
            raise ReplacedError(
                f"{snapshot.store.location}: the store was replaced or revised; reload this page"
            )
        return snapshot

    def read(self, key: str, name: str, image: int) -> np.ndarray:
        """An array's values for the image of that index, without the image axis; maybe read-only.

        Raises ReplacedError, NoImageError, CorruptionError, UnreadableError.
        """
        snapshot = self.of_key(key)
        try:
            values = _read(snapshot, name, image)
        except (CorruptionError, NoImageError):
            # A dataset that is lengthened gets a new last file, and more images are committed.
            if snapshot.is_final and snapshot.state == _state(snapshot.store):
                raise
            self._renew(snapshot)
            snapshot = self.of_key(key)
            values = _read(snapshot, name, image)
        self._check(snapshot)  # what was read before a look that finds no change is of this store
        return values

    def _renew(self, last: Snapshot) -> None:
        with self._lock:
            if self._snapshot is last:  # else another thread has done it
                self._snapshot = _taken(self._place)

    def _check(self, snapshot: Snapshot) -> None:
        """Raise ReplacedError where another store lies at the place."""
        now = monotonic()
        if snapshot.state is None and now - self._checked_seconds < URL_CHECK_SECONDS:
            return
        if snapshot.state is not None and snapshot.state == _state(snapshot.store):
            return
        try:
            check_unchanged(snapshot.store.location, snapshot.store.meta, with_filter=False)
        except StoreError as error:
            reason = str(error).rpartition(";")[0] or str(error)
            raise ReplacedError(f"{reason}; reload this page") from None
        self._checked_seconds = now


def _taken(place: str) -> Snapshot:
    """Open the store and read what the page needs of all its images."""
    state = _state_at(Location.parse(place).folder)
    store = fstore.open(place)
    key = f"{store.id[:KEY_CHARACTERS]}-{store.revision}"
    if not isinstance(store, fstore.Dataset):
        return Snapshot(store, key, None, None, state)
    kept = None if store.meta.keep is None or not store.complete else store.kept
    return Snapshot(store, key, scores_of(store), kept, state)


def _read(snapshot: Snapshot, name: str, image: int) -> np.ndarray:
    snapshot.check_committed(image)
    checked = snapshot.store.array(name)
    rest = [(0, size) for size in checked.array.shape[1:]]
    return checked.read_in_thread(((image, image + 1), *rest))[0]


def _state(store: Store) -> tuple[int, ...] | None:
    return _state_at(store.location.folder)


def _state_at(folder: os.PathLike[str] | None) -> tuple[int, ...] | None:
    if folder is None:
        return None
    try:
        found = os.stat(os.path.join(folder, "zarr.json"))
    except OSError:
        return (0, 0, 0)
    return found.st_ino, found.st_mtime_ns, found.st_size


def label_array(store: Store) -> str:
    """The array of a store's labels, or masks."""
    return "labels" if isinstance(store, fstore.Dataset) else "masks"


def image_shape(store: Store) -> tuple[int, int]:
    """(H, W) of the images."""
    meta = store.meta
    return meta.shape if isinstance(meta, fmt.DatasetMeta) else (meta.height, meta.width)
