"""What training reads: a feature store that is whole, and that stays the one that was opened.

It knows stores. It knows no plans, networks or folders.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

import fstore
from fstore import format as fmt
from fstore.errors import StoreError
from fstore.feature_store import FeatureStore
from fstore.sampler import SampledStore
from pipeline.errors import RunError, UsageError
from pipeline.settings.schema import KEYPOINTS, SEGMENTATION, TASKS

FINGERPRINT_IMAGES = 32


def open_features(store_path: str | os.PathLike[str]) -> FeatureStore:
    """The feature store. Raises UsageError for a dataset, and for a store that is not yet whole."""
    store = fstore.open(store_path)
    if not isinstance(store, FeatureStore):
        raise UsageError(
            f"{store.location}: is a dataset, expected a feature store; pass --store features.zarr"
        )
    if len(store) < store.num_images:
        raise UsageError(
            f"{store.location}: {len(store)} of {store.num_images} images are extracted, expected all; "
            "run the same `dgan extract-features` again, it goes on"
        )
    if store.meta.corrected:
        raise UsageError(
            f"{store.location}: its annotations are being corrected; run the same `dgan extract-features` "
            "again, it goes on"
        )
    store.array("masks")  # read once training has begun: damage to its metadata is better found now
    if store.meta.keypoints is not None:
        store.array("keypoints")
    return store


def check_task(store: FeatureStore, task: str | None) -> None:
    """Refuse a store annotated for another task than ``task``, None: any. Raises UsageError."""
    if task is None:
        return
    if task not in TASKS:
        raise UsageError(f"--task is {task!r}; expected {' or '.join(TASKS)}")
    found = SEGMENTATION if store.meta.keypoints is None else KEYPOINTS
    if task != found:
        raise UsageError(
            f"{store.location}: was extracted for {found}, --task is {task}; leave it out, or run "
            f"`dgan extract-features --task {task}` into another store"
        )


def drawable(store: FeatureStore) -> np.ndarray:
    """(K,) bool: all classes but the ignore label, where that is one of them."""
    return np.arange(len(store.meta.classes)) != store.meta.ignore


def features_sha256(store: SampledStore) -> str:
    """A digest of a sample of the features: all of one 16 x 16 tile of an image, of 32 images at most.

    The same latents may be extracted again on another device or with other libraries, whose rounding differs
    in every image. Then a run that goes on must not mix the two. The same bytes give the same digest, in
    either layout.
    """
    num_images, height, width, _ = store.shape
    images = np.unique(np.linspace(0, num_images - 1, min(num_images, FINGERPRINT_IMAGES)).round())
    random, digest = np.random.default_rng(0), hashlib.sha256()
    for image in images.astype(np.int64):
        row, column = (fmt.TILE * random.integers(-(-size // fmt.TILE)) for size in (height, width))
        rows, columns = np.mgrid[row : min(row + fmt.TILE, height), column : min(column + fmt.TILE, width)]
        features = store.pixels(np.full(rows.size, image), rows.ravel(), columns.ravel())
        digest.update(np.ascontiguousarray(features, dtype="<f2").data)
    return digest.hexdigest()


def check_same_store(store: FeatureStore) -> None:
    """Raise RunError where another store, or none, now lies where this one was opened.

    It is called after the pixels of an epoch have been read and before what they taught is saved, so that no
    interpreter names one store and has learnt another.
    """
    try:
        store.check_unchanged()
    except StoreError as error:
        raise RunError(str(error)) from None


@contextmanager
def reading(store: FeatureStore) -> Iterator[None]:
    """A block that reads the store. If a read fails because the store was replaced, the error says so."""
    try:
        yield
    except (StoreError, OSError, ValueError, KeyError):
        check_same_store(store)
        raise
