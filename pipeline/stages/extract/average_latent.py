"""Chooses the average latent of a run of ``dgan extract-features``, and says where it comes from.

It knows configurations, checkpoints and what a store says of its own average latent. It renders nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import fstore
from fstore.location import Location
from pipeline.checkpoints.read import LoadedGenerator
from pipeline.inputs.generator import average_latent, generator_record
from pipeline.rendering.renderer import RenderSettings
from pipeline.settings.schema import Config

_AVERAGE_FOLLOWS_FROM = ("sha256", "key", "class_label", "average_latent")


def run_average(
    config: Config, loaded: LoadedGenerator, settings: RenderSettings, *, overwrite: bool
) -> tuple[np.ndarray, str]:
    """The average latent, (D,) or (L, D) float32, and how a record names its origin.

    A run that goes on with a store takes the average latent that the store holds. It was computed from the
    same samples, but the last bits of such a mean depend on the number of threads, and a store must end in
    the same bytes however often it was interrupted. Raises StoreError for a store that is damaged.
    """
    average, origin = average_latent(config, loaded, settings)
    if overwrite:
        return average, origin
    batch = config.features.render_batch
    record = generator_record(loaded, settings, latent_space="", average=origin, render_batch=batch)
    stored = _stored_average(Location.parse(config.features.store), record)
    return (average if stored is None else stored), origin


def _stored_average(location: Location, record: Mapping[str, Any]) -> np.ndarray | None:
    """The average latent of the feature store at ``location``, (D,) or (L, D) float32.

    None where there is no store, and where its record says that its average latent is of other origin than
    this run's, ``record``.
    """
    if location.state() != "store":
        return None
    store = fstore.open(location.target)
    if not isinstance(store, fstore.FeatureStore):
        return None
    found = store.meta.generator
    same = all(found.get(key) == record.get(key) for key in _AVERAGE_FOLLOWS_FROM)
    return store.average_latent if same else None
