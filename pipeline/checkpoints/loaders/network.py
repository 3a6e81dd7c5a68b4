"""What a loader hands over: a generator, what its file's format is called, and its average latent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.checkpoints.loaders.tensor_table import TensorTable
from pipeline.errors import short
from pipeline.models.generator import Generator
from pipeline.models.latent_shapes import one_latent_shape


@dataclass(frozen=True)
class FoundNetwork:
    """A generator as a loader built it."""

    generator: Generator
    format: str
    """Short name of the file's format, for people."""
    average_latent: np.ndarray | None = None
    """(D,) or (L, D) float32 in W, where the file has one."""


def checked_average(values: Mapping[str, Any], name: str, latent_size: int) -> np.ndarray:
    """The average latent `name` as (D,) float32, or (L, D) where its rows differ. Raises ValueError
    otherwise.

    Encoders keep the one average latent once for every layer: (L, D) with equal rows, which is read as (D,).
    """
    average = np.asarray(TensorTable(values).take(name).numpy())
    try:
        shape = one_latent_shape(average.shape)
    except ValueError:
        shape = ()
    if not shape or shape[-1] != latent_size:
        raise ValueError(
            f"key {short(name)} has shape {average.shape}, expected an average latent, ({latent_size},) or "
            f"(layers, {latent_size})"
        )
    rows = average.reshape(shape)  # [D] or [L, D]
    return rows[0] if rows.ndim == 2 and bool((rows == rows[0]).all()) else rows
