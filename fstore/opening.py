"""Opening a store for reading: a ``FeatureStore`` or a ``Dataset``, by the kind that its attribute names."""

from __future__ import annotations

import numpy as np

from fstore import format as fmt
from fstore.chunks import read_markers
from fstore.dataset import Dataset
from fstore.errors import StoreError
from fstore.feature_store import FeatureStore
from fstore.location import Location, get_array, get_attribute


def open_store(location: Location) -> FeatureStore | Dataset:
    """Open a store for reading. Raises StoreError for what is no store of this version."""
    group = location.open_group()
    attribute = get_attribute(group)
    if attribute is None:
        raise StoreError(
            f"{location}: is a Zarr group without attribute 'fstore'; expected a store written by dgan"
        )
    if attribute.get("creating"):
        raise StoreError(f"{location}: its creation was cut off; run the command that writes it again")
    fmt.check_attribute(attribute, None, str(location))
    created = attribute.get("created")
    if not isinstance(created, dict) or not isinstance(created.get("id"), str):
        raise StoreError(
            f"{location}: attribute 'fstore' has no created.id, which every store is given; write it again "
            "with --overwrite"
        )
    if get_array(group, "committed") is None:
        raise StoreError(
            f"{location}: array 'committed' is missing; the store is not whole, write it again with "
            "--overwrite"
        )
    ids = np.flatnonzero(read_markers(group))
    if attribute.get("kind") == "dataset":
        return Dataset(location, group, ids, fmt.DatasetMeta.from_attribute(attribute, str(location)))
    return FeatureStore(location, group, ids, fmt.FeatureMeta.from_attribute(attribute, str(location)))
