"""Maps that are recovered from dense features are interpolated to the same features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.stores import filled, make_meta

import fstore
from fstore.feature_store import FeatureStore
from fstore.interpolate import concatenate_block

CASES = [((16, 16), (0, 16)), ((40, 50), (3, 38)), ((32, 32), (13, 19))]


@pytest.mark.parametrize("upsample", ["bilinear", "nearest"])
@pytest.mark.parametrize(("grid", "crop_rows"), CASES)
def test_recovered_maps_give_the_features_again(
    tmp_path: Path, grid: tuple[int, int], crop_rows: tuple[int, int], upsample: str
) -> None:
    meta = make_meta("dense", grid=grid, crop_rows=crop_rows, upsample=upsample)
    filled(tmp_path / "d.zarr", meta)
    store = fstore.open(tmp_path / "d.zarr")
    assert isinstance(store, FeatureStore)
    for image in range(len(store)):
        maps = store.recovered_maps(image)
        assert [tuple(part.shape) for part in maps] == [(*la.resolution, la.channels) for la in meta.layers]
        found = concatenate_block(maps, meta.layers, grid, crop_rows, (0, grid[1]), mode=upsample)
        expected = np.asarray(store.features[image]).astype(np.float32)
        error = np.abs(found.float().numpy() - expected)
        assert error.max() <= 4e-3 * np.abs(expected).max()


def test_a_whole_grid_gives_back_the_native_maps(tmp_path: Path) -> None:
    options = {"grid": (64, 64), "crop_rows": (0, 64), "native": (("b4", (4, 4), 3), ("b32", (32, 32), 2))}
    stores = {}
    for layout in ("dense", "pyramid"):
        filled(tmp_path / layout, make_meta(layout, **options), native=options["native"])
        stores[layout] = fstore.open(tmp_path / layout)
    for found, native in zip(
        stores["dense"].recovered_maps(0), stores["pyramid"].native_maps(0), strict=True
    ):
        torch.testing.assert_close(
            found.float(), native.float(), rtol=0, atol=2e-3 * float(native.abs().max())
        )
