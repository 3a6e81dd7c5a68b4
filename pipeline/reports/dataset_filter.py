"""What a page says of a dataset's filter: its scores, what it keeps, and the command that makes it.

A report and a server show the same of it.
"""

from __future__ import annotations

import numpy as np

import fstore
from pipeline.errors import count


def kept_of(store: fstore.Dataset) -> np.ndarray | None:
    """(n,) bool: what the filter keeps, or None where none is set."""
    return None if store.meta.keep is None else store.kept


def scores_of(store: fstore.Dataset) -> np.ndarray:
    """(n,) float32: what the filter goes by; the stored uncertainty where it goes by no score of its own."""
    return store.uncertainty if store.meta.keep is None else store.filter_score


def score_name(store: fstore.Dataset) -> str:
    """The name of the score of `scores_of`."""
    return store.meta.filter_score


def filter_options(store: fstore.Dataset) -> list[str]:
    """Flags of `dgan filter` besides ``--keep``, with which it goes by the score of `scores_of`."""
    return [] if score_name(store) == store.meta.score else [f"--score {score_name(store)}"]


def own_options(store: fstore.Dataset) -> list[str]:
    """Flags of `dgan filter` besides ``--keep``, with which it makes the filter that the store has."""
    return [*filter_options(store), *(["--keep-per-class"] if is_per_class(store) else [])]


def is_per_class(store: fstore.Dataset) -> bool:
    """Whether the filter keeps its share of the images of every class."""
    return store.meta.filter is not None and store.meta.filter.per_class


def kept_words(store: fstore.Dataset, kept: np.ndarray) -> str:
    """How many images the filter keeps, and by which rule."""
    how = ", of every class its share" if is_per_class(store) else ""
    return f"{int(kept.sum()):,} (share {store.meta.keep}, by the score {score_name(store)}{how})"


def filter_notes(store: fstore.Dataset, kept: np.ndarray | None) -> list[str]:
    """What has to be known of a finished dataset's filter to read its gallery."""
    if kept is None:
        without = int((~np.isfinite(scores_of(store))).sum())
        but = f", but for {count(without, 'image')} without a finite uncertainty" if without else ""
        return [f"No filter is set: every image counts as kept{but}. dgan filter sets one."]
    if is_per_class(store):
        return ["The filter keeps its share of every class; the slider goes by the score alone."]
    return []
