"""A pyramid in memory: the store's own bits, and the store's own batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.stores import filled, make_meta

import fstore
from fstore.cache import CachedPyramid, pyramid_bytes
from fstore.errors import CorruptionError, StoreError
from fstore.feature_store import FeatureStore
from fstore.sampler import SampledStore, StratifiedChunkSampler


@pytest.fixture(params=["bilinear", "nearest"])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> FeatureStore:
    meta = make_meta("pyramid", grid=(40, 50), crop_rows=(3, 38), upsample=request.param)
    filled(tmp_path / "p.zarr", meta)
    opened = fstore.open(tmp_path / "p.zarr")
    assert isinstance(opened, FeatureStore)
    return opened


def test_cached_pixels_have_the_bits_of_the_store(store: FeatureStore) -> None:
    where = np.random.default_rng(0).integers(0, store.shape[:3], (300, 3)).T
    found = CachedPyramid(store, range(3)).pixels(*where)
    assert np.array_equal(np.asarray(found).view(np.uint16), store.pixels(*where).view(np.uint16))


@pytest.mark.parametrize(("threads", "units_ahead"), [(1, None), (3, 7)])
def test_batches_are_the_same_with_a_cache_and_however_many_threads(
    store: FeatureStore, threads: int, units_ahead: int | None
) -> None:
    def batches(source: SampledStore, **reading: int | None) -> list[tuple[np.ndarray, np.ndarray]]:
        sampler = StratifiedChunkSampler(
            source, batch_size=16, members=2, draws_per_epoch=600, images=[2, 0], **reading
        )
        return [(batch.features.numpy(), batch.labels) for batch in sampler.epoch(1)]

    plain = batches(store)
    cached = batches(CachedPyramid(store, [0, 2]), threads=threads, units_ahead=units_ahead)
    assert len(plain) == len(cached) > 10
    for (features, labels), (others, other_labels) in zip(plain, cached, strict=True):
        assert np.array_equal(features.view(np.uint16), others.view(np.uint16))
        assert np.array_equal(labels, other_labels)


def test_its_size_is_that_of_the_maps(store: FeatureStore) -> None:
    held = sum(part.nbytes for image in range(3) for part in store.native_maps(image))
    assert pyramid_bytes(store.meta, 3) == held


def test_a_damaged_map_is_refused(store: FeatureStore, tmp_path: Path) -> None:
    file = next(path for path in (tmp_path / "p.zarr" / "layers").rglob("c/1/**/*") if path.is_file())
    content = bytearray(file.read_bytes())
    content[3] ^= 1
    file.write_bytes(content)
    with pytest.raises(CorruptionError, match=r"layers/.*image 1, chunk .* is damaged"):
        CachedPyramid(store, [1])


def test_a_dense_store_has_no_maps(tmp_path: Path) -> None:
    filled(tmp_path / "d.zarr", make_meta("dense"))
    with pytest.raises(StoreError, match="only a pyramid has native maps"):
        CachedPyramid(fstore.open(tmp_path / "d.zarr"), [0])  # type: ignore[arg-type]


def test_maps_are_kept_as_float16(store: FeatureStore) -> None:
    assert {part.dtype for part in store.native_maps(0)} == {torch.float16}
