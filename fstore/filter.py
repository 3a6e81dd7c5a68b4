"""Writes the filter of a dataset: which images are kept. One writer writes it whole, and may replace it.

It knows scores and how many images are to be kept. It does not know how a score is computed.
"""

from __future__ import annotations

from math import ceil

import numpy as np

from fstore import format as fmt
from fstore.chunks import CheckedArray, read_markers
from fstore.creation import open_for_writing
from fstore.dataset_writer import set_filter
from fstore.durable import sync_all
from fstore.errors import StoreError
from fstore.inventory import Inventory, chunk_key, read_inventory
from fstore.location import Location
from fstore.lock import FolderLock
from fstore.values import keep_fraction, number


def num_kept(keep: str, uncertainty: np.ndarray) -> int:
    """Images that a filter keeps: ceil(keep * N), or all that have a finite score where these are fewer."""
    return min(ceil(keep_fraction(keep) * len(uncertainty)), int(np.isfinite(uncertainty).sum()))


def write_kept(location: Location, kept: np.ndarray, keep: str, threshold: float | None) -> None:
    """Does what ``fstore.set_kept`` says, with the same arguments."""
    read_inventory(location)  # before its folder is locked: there may be none
    lock = None if location.folder is None else FolderLock(location.folder)
    try:
        inventory = read_inventory(location)
        _check(inventory, kept, keep, threshold)
        _write(inventory, kept, keep, threshold)
    finally:
        if lock is not None:
            lock.release()


def _check(inventory: Inventory, kept: np.ndarray, keep: str, threshold: float | None) -> None:
    """Refuse a filter that ``verify`` would report as wrong."""
    where, num = inventory.location, inventory.num_images
    if not isinstance(inventory.meta, fmt.DatasetMeta):
        raise StoreError(f"{where}: is a feature store, which has no filter; pass a dataset")
    if inventory.array("kept").shape[0] > num or kept.shape != (num,):
        raise StoreError(
            f"{where}: kept has {inventory.array('kept').shape[0]} places, the dataset {num} images and the "
            f"filter {len(kept)}; a run with a larger --num was cut off, run it again"
        )
    markers = read_markers(inventory.array("committed"), where)
    if not markers.all():
        raise StoreError(
            f"{where}: {markers.sum()} of {num} images are committed; "
            "run the same `dgan synthesize` to its end"
        )
    uncertainty = CheckedArray(inventory.array("uncertainty"), where).read(((0, num),))
    if not np.isfinite(uncertainty[kept]).all():
        raise StoreError(f"{where}: the filter keeps an image whose uncertainty is not finite")
    if int(kept.sum()) != num_kept(keep, uncertainty):
        expected = num_kept(keep, uncertainty)
        raise StoreError(f"{where}: the filter keeps {kept.sum()} images, expected {expected} (keep {keep})")
    if threshold is not None:
        number("threshold", threshold)


def _write(inventory: Inventory, kept: np.ndarray, keep: str, threshold: float | None) -> None:
    location, group = inventory.location, inventory.location.open_group("r+")
    array = open_for_writing(group, inventory.specs["kept"], location)
    # On the disk before `kept` changes, so that the old share is never seen beside the new mask.
    set_filter(group, location, None, None)
    array[:] = kept
    sync_all(location, [chunk_key(array, [i]) for i in range(-(-len(kept) // fmt.KEPT_CHUNK))])
    set_filter(group, location, keep, threshold)
