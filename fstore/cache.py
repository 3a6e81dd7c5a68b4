"""A pyramid store held in the memory of the host or of a device, for a sampler that reads it many times.

Each pixel has the bits that the store itself gives, because the same routine computes it from the same maps.
This module knows the sampler's protocol and a store that gives its maps. It does not know how the maps are
kept on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fstore import format as fmt
from fstore.interpolate import concatenate_pixels

if TYPE_CHECKING:
    from fstore.feature_store import FeatureStore


def pyramid_bytes(meta: fmt.FeatureMeta, num_images: int) -> int:
    """Memory that the maps of ``num_images`` take, in bytes."""
    return num_images * sum(prod(layer.resolution) * layer.channels * 2 for layer in meta.layers)


class LikeStore:
    """What a sampler asks of a store beside its pixels, from the store whose maps are held elsewhere."""

    def __init__(self, store: FeatureStore, channels: int) -> None:
        self.meta = store.meta
        self.shape = (*store.shape[:3], channels)
        self.unit_tiles = store.unit_tiles
        # as many draws of a unit, so that the plan of an epoch is that of the store
        self.read_unit_bytes = -(-store.read_unit_bytes * channels // store.shape[3])
        self.class_counts = store.class_counts
        self.read_masks = store.read_masks
        self.id = store.id
        self.check_unchanged = store.check_unchanged  # it outlives every read of the store


class CachedPyramid(LikeStore):
    """The maps of a pyramid store in memory; the class index and the masks are those of the store.

    The sampler uses it in place of a store (``SampledStore``). ``images`` are the positions in the store
    whose maps are held, and it gives pixels of these images only. Raises CorruptionError where a map is
    absent or damaged.
    """

    def __init__(
        self,
        store: FeatureStore,
        images: Sequence[int],
        device: torch.device | str = "cpu",
        *,
        layers: Sequence[fmt.LayerInfo] | None = None,
        read: Callable[[int], Sequence[Tensor]] | None = None,
    ) -> None:
        """``read`` gives other maps of an image than the store's, those of ``layers``: [h, w, c] float16."""
        self._layers = layers or store.meta.layers
        super().__init__(store, sum(layer.channels for layer in self._layers))
        self._device = torch.device(device)
        read = read or store.native_maps
        self._maps = {int(i): [part.to(device) for part in read(int(i))] for i in images}

    def pixels(
        self, images: NDArray[np.integer], rows: NDArray[np.integer], columns: NDArray[np.integer]
    ) -> NDArray[np.float16] | Tensor:
        """Features (n, C) float16 of n pixels: an array where the maps lie in host memory, else a tensor.

        Positions are those of the store, rows are counted after the crop. Raises KeyError for an image that
        is not held.
        """
        shape = (len(images), self.shape[3])
        host = self._device.type == "cpu"
        # numpy's memory, since numpy asks the kernel for large pages and torch does not
        array = np.empty(shape if host else 0, np.float16)
        out = (
            torch.from_numpy(array) if host else torch.empty(shape, dtype=torch.float16, device=self._device)
        )
        for image in np.unique(images):
            chosen = np.flatnonzero(np.asarray(images) == image)
            whole = len(chosen) == len(images)  # as the sampler asks: nothing is copied twice
            values = concatenate_pixels(
                self._maps[int(image)],
                self._layers,
                self.meta.grid,
                self._index(rows, chosen) + self.meta.crop_rows[0],
                self._index(columns, chosen),
                out=out if whole else None,
                mode=self.meta.upsample,
            )
            if not whole:
                out[torch.from_numpy(chosen).to(self._device)] = values
        return array if host else out

    def _index(self, values: NDArray[np.integer], chosen: NDArray[np.integer]) -> Tensor:
        return torch.from_numpy(np.asarray(values, np.int64)[chosen]).to(self._device)
