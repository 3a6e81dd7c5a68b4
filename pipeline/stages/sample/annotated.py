"""How many pixels of each class are annotated so far: the counts of the project's feature store.

It knows stores and an interpreter's classes, and nothing of the images to choose.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import fstore
from fstore.errors import CorruptionError, StoreError, UnreadableError
from fstore.feature_store import FeatureStore
from pipeline.errors import UsageError, count
from pipeline.interpreter.description import InterpreterInfo
from pipeline.settings.classes import places_of_names
from pipeline.settings.options import RARE, UNCERTAIN

NAMED = 3  # classes that a line names


def annotated_pixels(store_path: str, info: InterpreterInfo) -> NDArray[np.int64]:
    """(K,) int64: annotated pixels of each class of the interpreter, in all images of the feature store.

    Classes are matched by their names; the ignore label counts 0. A class that the store alone has is left
    out, since the interpreter cannot say which images show it. Raises UsageError, one line, where there is no
    such feature store, or it lacks a class of the interpreter; CorruptionError or UnreadableError where the
    store is damaged or cannot be read.
    """
    way_out = f"name the store with --store, or choose --by {UNCERTAIN}"
    try:
        store = fstore.open(store_path)
    except (CorruptionError, UnreadableError):  # it is that store, and another one is no way out
        raise
    except StoreError as error:
        raise UsageError(
            f"{error}; --by {RARE} counts the annotated pixels of the feature store: {way_out}"
        ) from None
    if not isinstance(store, FeatureStore):
        raise UsageError(f"{store.location}: is a dataset; --by {RARE} needs the feature store: {way_out}")
    counts = store.class_counts.sum(axis=(0, 1, 2), dtype=np.int64)  # [K of the store]
    known = [entry.name for entry in store.meta.classes]
    places = places_of_names([entry.name for entry in info.classes], known)
    annotated = []
    for entry, place in zip(info.classes, places, strict=True):
        if place is None:
            often = known.count(entry.name)
            has = f"has {count(often, 'class') if often else 'no class'} {entry.name!r}"
            raise UsageError(
                f"{store.location}: {has}, which the interpreter has learnt; run `dgan train`, or {way_out}"
            )
        annotated.append(0 if entry.id == info.ignore else counts[place])
    return np.array(annotated, np.int64)


def rarest_in_words(info: InterpreterInfo, annotated: NDArray[np.int64]) -> str:
    """The classes with the fewest annotated pixels, as ``collar 0.2%, nose 0.9%``."""
    order = [k for k in np.argsort(annotated, kind="stable").tolist() if info.classes[k].id != info.ignore]
    whole = max(1, int(annotated.sum()))
    return ", ".join(f"{info.classes[k].name} {annotated[k] / whole:.1%}" for k in order[:NAMED])
