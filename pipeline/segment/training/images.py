"""Opens the store that a segmenter learns from, and chooses its images.

It knows stores, their filters and label maps. It knows no networks.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fstore
from fstore.dataset import Dataset
from fstore.feature_store import FeatureStore
from fstore.torch_data import LabelledImages
from fstore.values import keep_fraction
from pipeline.errors import UsageError, count
from pipeline.exports.classes import ClassMapping, identity, read_mapping
from pipeline.segment.training.data import Source, StoreSource, Task, output_table
from pipeline.segment.training.selection import RELEASED_CERTAIN, ids_sha256, num_dropped, released_slice
from pipeline.settings.schema import SegmentConfig

KEPT, RELEASED, ANNOTATED = "filter", "released filter", "annotations"
"""Which images a segmenter has learnt from, as ``chosen_by`` of its description."""


@dataclass(frozen=True)
class OpenedImages:
    """A store's images. size: (H, W) of each. task: what they teach. notes: lines for the user."""

    source: Source
    size: tuple[int, int]
    task: Task
    notes: tuple[str, ...] = ()


def open_images(options: SegmentConfig) -> OpenedImages:
    """The images of ``options.data`` that are to be learnt.

    Raises UsageError for settings that do not fit the store, StoreError for one that cannot be read or has no
    image to give.
    """
    store = fstore.open(options.data)
    _refuse(store, options)
    released = isinstance(store, Dataset) and options.released_filter
    if isinstance(store, Dataset) and not released:
        store.require_filter()
    images = fstore.torch_dataset(options.data, kept_only=not released)
    store.check_unchanged()  # both are of one store
    chosen, record = _chosen(store, images, options)
    mapping = _mapping(store, options.label_map)
    task = Task(mapping.classes, mapping.ignore, store.meta.keypoints)
    table = None
    if store.meta.keypoints is None:
        table = output_table(len(store.meta.classes), store.meta.ignore, mapping.table, mapping.ignore)
    record |= {
        "num_images": len(chosen),
        "images_sha256": ids_sha256(images.ids[chosen]),
        "label_map_sha256": None if mapping.table is None else hashlib.sha256(table).hexdigest(),  # type: ignore[arg-type]
    }
    source = StoreSource(store, images, chosen, table, record)
    height, width = store.array("images").array.shape[1:3]
    return OpenedImages(source, (height, width), task, _notes(store))


def _refuse(store: FeatureStore | Dataset, options: SegmentConfig) -> None:
    where, meta = store.location, store.meta
    if options.released_filter and isinstance(store, FeatureStore):
        raise UsageError(
            f"{where}: is a feature store, which has no filter, and --released-filter is one of datasets; "
            "leave it out"
        )
    if options.label_map is not None and meta.keypoints is not None:
        raise UsageError(
            f"{where}: holds keypoints, and --label-map {options.label_map} is of classes; leave it out"
        )
    if isinstance(store, FeatureStore) and meta.corrected:  # type: ignore[union-attr]
        raise UsageError(
            f"{where}: its annotations are being corrected; run the same `dgan extract-features` again, it "
            "goes on"
        )


def _chosen(
    store: FeatureStore | Dataset, images: LabelledImages, options: SegmentConfig
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """The places in ``images`` of those that are learnt, ascending, and what the description says of it."""
    record: dict[str, Any] = {"kind": store.meta.kind, "id": store.id, "store": str(store.location)}
    places = np.arange(len(images))[: options.num_synthetic]
    if options.num_synthetic is not None and options.num_synthetic > len(images):
        raise UsageError(
            f"{store.location}: has {count(len(images), 'image')} to learn from, --num-synthetic is "
            f"{options.num_synthetic}; leave it out, or make more with `dgan synthesize --num`"
        )
    if not isinstance(store, Dataset):
        return places, {**record, "revision": store.revision, "chosen_by": ANNOTATED}
    rule = None if store.meta.filter is None else store.meta.filter.to_json()
    record |= {"keep": store.meta.keep, "threshold": store.meta.threshold, "filter": rule}
    if not options.released_filter:
        return places, {**record, "chosen_by": KEPT}
    return places[_released(store, len(places))], {**record, "chosen_by": RELEASED}


def _released(store: Dataset, num_images: int) -> NDArray[np.int64]:
    """The places of the released slice of the first ``num_images``. Raises UsageError where it is empty."""
    where, keep = store.location, store.meta.keep
    if not store.complete or keep is None:
        raise UsageError(
            f"{where}: no filter is set yet, and --released-filter drops as many images as that; run `dgan "
            "synthesize` to its end, or `dgan filter`"
        )
    fraction = keep_fraction(keep)
    dropped = num_dropped(num_images, fraction)
    chosen = released_slice(store.uncertainty[:num_images], fraction)
    if not len(chosen):
        raise UsageError(
            f"{where}: the released filter learns from places [30 : -n + 30] of {count(num_images, 'image')} "
            f"in the order of uncertainty, which are none: n = int({num_images} * (1 - {keep})) = {dropped}, "
            f"expected over {RELEASED_CERTAIN}; make more images, or keep fewer with `dgan filter`"
        )
    return chosen


def _mapping(store: FeatureStore | Dataset, label_map: Path | None) -> ClassMapping:
    meta = store.meta
    if label_map is None:
        return identity(meta.classes, meta.ignore)
    return read_mapping(label_map, meta.classes, meta.ignore, str(store.location))


def _notes(store: FeatureStore | Dataset) -> tuple[str, ...]:
    if len(store) == store.num_images:
        return ()
    return (f"{store.location}: {len(store)} of {store.num_images} images are there; these are learnt",)
