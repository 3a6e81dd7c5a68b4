"""Opening a store for reading: a ``FeatureStore`` or a ``Dataset``, by the kind that its attribute names."""

from __future__ import annotations

import numpy as np

from fstore import format as fmt
from fstore.chunks import read_markers
from fstore.dataset import Dataset
from fstore.feature_store import FeatureStore
from fstore.inventory import read_inventory
from fstore.location import Location


def open_store(location: Location) -> FeatureStore | Dataset:
    """Open a store for reading. Raises StoreError for what is no store of this version."""
    inventory = read_inventory(location)
    ids = np.flatnonzero(read_markers(inventory.array("committed"), location, 0, inventory.num_images))
    meta = inventory.meta
    if isinstance(meta, fmt.DatasetMeta):
        return Dataset(inventory, ids, meta)
    return FeatureStore(inventory, ids, meta)
