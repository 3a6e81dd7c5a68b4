"""Writes the filter of a dataset: which images are kept. One writer writes it whole, and may replace it.

It knows scores and how many images are to be kept. It does not know how a score is computed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import zarr

from fstore import format as fmt
from fstore.chunks import CheckedArray, read_markers
from fstore.creation import create_array, delete_array, open_for_writing
from fstore.dataset import Dataset
from fstore.dataset_writer import set_filter
from fstore.durable import sync_all
from fstore.errors import StoreError
from fstore.filter_rule import num_kept
from fstore.inventory import Inventory, chunk_key, read_inventory
from fstore.location import Location
from fstore.writer_lock import lock_place


@dataclass(frozen=True)
class Filter:
    """What ``fstore.set_kept`` is given, under the same names."""

    kept: np.ndarray
    keep: str
    threshold: float | None
    rule: fmt.FilterRule | None = None
    scores: np.ndarray | None = None


def filter_of(dataset: Dataset) -> Filter:
    """The filter of a complete dataset, as a dataset with the same scores may be given it.

    Raises StoreError before it has been set, and where ``write_filter`` would refuse it.
    """
    meta = dataset.meta
    kept, scores = dataset.kept, dataset.filter_score if meta.filter_score != meta.score else None
    found = Filter(kept, str(meta.keep), meta.threshold, meta.filter, scores)
    _check(read_inventory(dataset.location), found)
    return found


def write_filter(location: Location, wanted: Filter) -> None:
    """Does what ``fstore.set_kept`` says."""
    read_inventory(location)  # before its folder is locked: there may be none
    lock = lock_place(location)
    try:
        inventory = read_inventory(location)
        _check(inventory, wanted)
        location.sweep()  # what a filter left that was killed
        _write(inventory, wanted)
    finally:
        if lock is not None:
            lock.release()


def _check(inventory: Inventory, wanted: Filter) -> None:
    """Refuse a filter that ``verify`` would report as wrong."""
    where, num = inventory.location, inventory.num_images
    meta, kept = inventory.meta, wanted.kept
    if not isinstance(meta, fmt.DatasetMeta):
        raise StoreError(f"{where}: is a feature store, which has no filter; pass a dataset")
    if inventory.array("kept").shape[0] > num or kept.shape != (num,):
        raise StoreError(
            f"{where}: kept has {inventory.array('kept').shape[0]} places, the dataset {num} images and the "
            f"filter {len(kept)}; a run with a larger --num was cut off, run it again"
        )
    markers = read_markers(inventory.array("committed"), where)
    if not markers.all():
        raise StoreError(
            f"{where}: {markers.sum()} of {num} images are committed; run the same `{meta.maker}` to its end"
        )
    replace(meta, keep=wanted.keep, threshold=wanted.threshold, filter=wanted.rule)  # it refuses bad values
    scores = _scores(inventory, meta, wanted)
    if not np.isfinite(scores[kept]).all():
        raise StoreError(f"{where}: the filter keeps an image whose uncertainty is not finite")
    found, expected = int(kept.sum()), num_kept(wanted.keep, scores)
    per_class = wanted.rule is not None and wanted.rule.per_class
    if found < expected or (found > expected and not per_class):
        more = " or more" if per_class else ""
        raise StoreError(
            f"{where}: the filter keeps {found} images, expected {expected}{more} (keep {wanted.keep})"
        )


def _scores(inventory: Inventory, meta: fmt.DatasetMeta, wanted: Filter) -> np.ndarray:
    """(N,): what the filter went by. Raises StoreError where it is not given, or not what can be stored."""
    where, num = inventory.location, inventory.num_images
    by = meta.score if wanted.rule is None else wanted.rule.score
    if by == meta.score:
        if wanted.scores is not None:
            raise StoreError(
                f"{where}: the filter goes by {by}, which is stored as uncertainty; pass no scores"
            )
        return CheckedArray(inventory.array("uncertainty"), where).read(((0, num),))
    if wanted.scores is None or wanted.scores.shape != (num,):
        found = "none" if wanted.scores is None else f"of shape {wanted.scores.shape}"
        raise StoreError(f"{where}: the filter goes by {by}; expected scores ({num},), found {found}")
    if np.isinf(wanted.scores).any():
        raise StoreError(f"{where}: the filter's scores have an infinite value; expected finite ones, or NaN")
    return wanted.scores


def _write(inventory: Inventory, wanted: Filter) -> None:
    location, group = inventory.location, inventory.location.open_group("r+")
    kept = open_for_writing(group, fmt.kept_array(inventory.num_images), location)
    # On the disk before an array changes, so that the old share is never seen beside the new mask.
    set_filter(group, location, None, None)
    delete_array(group, location, fmt.FILTER_SCORE)
    if wanted.scores is not None:
        spec = fmt.filter_score_array(inventory.num_images)
        create_array(group, spec)
        _fill(location, open_for_writing(group, spec, location), wanted.scores.astype(spec.dtype))
        sync_all(location, [f"{spec.name}/zarr.json"])
    _fill(location, kept, wanted.kept)
    set_filter(group, location, wanted.keep, wanted.threshold, wanted.rule)


def _fill(location: Location, array: zarr.Array[Any], values: np.ndarray) -> None:
    """Write a whole array of one axis, and force its files to the disk."""
    array[:] = values
    sync_all(location, [chunk_key(array, [i]) for i in range(-(-len(values) // fmt.KEPT_CHUNK))])
