"""What lies beside a dataset and belongs to it: the interpreter that labelled it, and its annotated images.

Each is taken only where hashes and ids say that it is the one. This module shows nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import fstore
from fstore.errors import StoreError
from pipeline.errors import UsageError
from pipeline.interpreter.description import InterpreterInfo
from pipeline.interpreter.description_file import load_description
from pipeline.interpreter.folder import DESCRIPTION


@dataclass(frozen=True)
class Neighbour:
    """The interpreter's folder beside a dataset, and what it says."""

    folder: Path
    info: InterpreterInfo


def interpreter_beside(store: fstore.Dataset) -> Neighbour | None:
    """The interpreter that labelled a dataset, where its folder lies beside this and still holds it."""
    place, name = store.location.folder, store.meta.interpreter.get("folder")
    if place is None or not isinstance(name, str):
        return None
    folder = place.absolute().parent / Path(name).name
    if not os.path.isfile(folder / DESCRIPTION):  # False too where the name is none that a file can have
        return None
    try:
        info, sha256 = load_description(folder)
    except UsageError:
        return None
    return Neighbour(folder, info) if sha256 == store.meta.interpreter.get("sha256") else None


def annotated_beside(store: fstore.Dataset, neighbour: Neighbour | None) -> fstore.FeatureStore | None:
    """The feature store beside a dataset on which its interpreter was trained, by the store's id."""
    if store.location.folder is None or neighbour is None:
        return None
    wanted = neighbour.info.store.get("id")
    for place in sorted(store.location.folder.absolute().parent.glob("*.zarr")):
        try:
            found = fstore.open(place)
        except StoreError:
            continue
        if isinstance(found, fstore.FeatureStore) and found.id == wanted:
            return found
    return None


def annotated_store(
    store: fstore.Dataset, path: str | None, neighbour: Neighbour | None
) -> fstore.FeatureStore | None:
    """The annotated images that a dataset is compared with: those at ``path``, or where it is None those
    beside the dataset.

    Raises UsageError where ``path`` is no feature store with the dataset's classes.
    """
    if path is None:
        found = annotated_beside(store, neighbour)
        return found if found is not None and _names(found) == _names(store) else None
    given = fstore.open(path)
    if not isinstance(given, fstore.FeatureStore):
        raise UsageError(f"{given.location}: is a dataset; expected for --annotated a feature store")
    if _names(given) != _names(store):
        raise UsageError(
            f"{given.location}: its classes are not those of {store.location}; expected for --annotated the "
            "feature store on which its interpreter was trained"
        )
    return given


def annotated_counts(store: fstore.FeatureStore) -> np.ndarray:
    """(m, K) int64: pixels of each class in each annotated image."""
    return store.class_counts.sum(axis=(1, 2), dtype=np.int64)


def _names(store: fstore.Dataset | fstore.FeatureStore) -> list[str]:
    return [entry.name for entry in store.meta.classes]
