"""What a feature store that an earlier run began says to a run that goes on with it.

Knows the store's attribute and its average latent. Does not know how inputs are read or features made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

import fstore
from fstore import format as fmt
from fstore.location import Location, get_attribute

_AVERAGE_FOLLOWS_FROM = ("sha256", "key", "class_label", "average_latent")


def stored_average(location: Location, record: Mapping[str, Any]) -> np.ndarray | None:
    """The average latent of the store at ``location``, (D,) or (L, D) float32, where it is that of this run;
    None where there is no store, or ``record``, this run's of the generator, says otherwise than the store's.

    To go on with it is to end in the bytes of an undisturbed run: one that is computed again moves by a
    rounding with the number of threads. Raises StoreError for a store that is damaged.
    """
    if location.state() != "store":
        return None
    store = fstore.open(location.target)
    if not isinstance(store, fstore.FeatureStore):
        return None
    found = store.meta.generator
    same = all(found.get(key) == record.get(key) for key in _AVERAGE_FOLLOWS_FROM)
    return store.average_latent if same else None


def check_settings(location: Location, meta: fmt.FeatureMeta) -> None:
    """Refuse to go on with a store that was begun with other settings, before anything is rendered for it.

    Raises MismatchError naming the first difference, StoreError for a store of another kind or version.
    """
    if location.state() != "store":
        return
    found = get_attribute(location.open_group()) or {}
    fmt.check_attribute(found, meta.kind, str(location))
    fmt.check_same(found, json.loads(json.dumps(meta.to_attribute())), str(location))
