"""Writes the filter of a dataset: which images are kept. One writer writes it whole, and may replace it.

It knows scores and how many images are to be kept. It does not know how a score is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import zarr

from fstore import format as fmt
from fstore.allowed_values import as_stored, wrong_type
from fstore.chunks import CheckedArray, read_markers
from fstore.creation import create_array, delete_array, open_for_writing
from fstore.dataset import Dataset
from fstore.dataset_writer import set_filter
from fstore.durable import sync_all
from fstore.errors import StoreError
from fstore.filter_rule import kept_per_class, num_kept, order_problems, threshold_problems
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
    scores = None if wanted.scores is None else np.asarray(wanted.scores)
    wanted = replace(wanted, kept=np.asarray(wanted.kept), scores=scores)
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
    """Refuse a filter that ``verify`` would report as wrong.

    Of one that is per class, the share of all images is checked alone: which classes an image shows would
    take a look at all labels.
    """
    where, num = inventory.location, inventory.num_images
    meta, kept = inventory.meta, wanted.kept
    if not isinstance(meta, fmt.DatasetMeta):
        raise StoreError(f"{where}: is a feature store, which has no filter; pass a dataset")
    if inventory.array("kept").shape[0] > num:
        raise StoreError(
            f"{where}: kept has {inventory.array('kept').shape[0]} places and the dataset {num} images; a "
            "run with a larger --num was cut off, run it again"
        )
    markers = read_markers(inventory.array("committed"), where)
    if not markers.all():
        raise StoreError(
            f"{where}: {markers.sum()} of {num} images are committed; run the same `{meta.maker}` to its end"
        )
    if kept.shape != (num,) or kept.dtype != bool:
        # Of integers, 0 and 1 would be taken for the indices of two images.
        raise StoreError(
            f"{where}: the filter's mask is {kept.dtype} of shape {kept.shape}, expected bool of ({num},): "
            "true for each image to keep"
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
    name = "uncertainty" if wanted.scores is None else fmt.FILTER_SCORE
    problems = [*threshold_problems(wanted.threshold, kept, scores, name)]
    problems += _missing(wanted.keep, kept, scores) if per_class else order_problems(kept, scores)
    for line in problems:
        raise StoreError(f"{where}: {line}")


def _missing(keep: str, kept: np.ndarray, scores: np.ndarray) -> Iterator[str]:
    """A line where a filter per class drops an image of the share of all images."""
    of_all = kept_per_class(keep, scores, np.zeros((len(scores), 0), bool))
    for image in np.flatnonzero(of_all & ~kept)[:1]:
        yield f"array 'kept', image {image}: is dropped, and the rule per class keeps it (keep {keep})"


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
    spec = fmt.filter_score_array(num)
    words = wrong_type(spec, wanted.scores)
    if words is not None:
        raise StoreError(f"{where}: array {spec.name!r} {words}")
    scores = as_stored(spec, wanted.scores)
    if np.isinf(scores).any():
        raise StoreError(f"{where}: the filter's scores have an infinite value; expected finite ones, or NaN")
    return scores


def _write(inventory: Inventory, wanted: Filter) -> None:
    location, group = inventory.location, inventory.location.open_group("r+")
    kept = open_for_writing(group, fmt.kept_array(inventory.num_images), location)
    # On the disk before an array changes, so that the old share is never seen beside the new mask.
    set_filter(group, location, None, None)
    delete_array(group, location, fmt.FILTER_SCORE)
    if wanted.scores is not None:
        spec = fmt.filter_score_array(inventory.num_images)
        create_array(group, spec)
        _fill(location, open_for_writing(group, spec, location), as_stored(spec, wanted.scores))
        sync_all(location, [f"{spec.name}/zarr.json"])
    _fill(location, kept, wanted.kept)
    set_filter(group, location, wanted.keep, wanted.threshold, wanted.rule)


def _fill(location: Location, array: zarr.Array[Any], values: np.ndarray) -> None:
    """Write a whole array of one axis, and force its files to the disk."""
    array[:] = values
    sync_all(location, [chunk_key(array, [i]) for i in range(-(-len(values) // fmt.KEPT_CHUNK))])
