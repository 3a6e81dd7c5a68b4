"""Writing an image in threads: the same bytes whatever the number of buffers, nothing committed that is not
whole, no error lost.
"""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from support.stores import NATIVE, fill, make_image, make_maps, make_meta, store_bytes
from support.variants import variants

import fstore
from fstore import shards
from fstore.bands import BandMaker
from fstore.interpolate import concatenate_block, to_stored
from fstore.shards import ShardWriter

META = {"grid": (100, 40), "crop_rows": (3, 99)}  # three bands, the last one whole


def create(path: Path, layout: str, band_buffers: int = 3) -> fstore.FeatureWriter:
    meta = make_meta(layout, **META)
    return fstore.create(path, meta, num_images=2, latent_shape=(8,), band_buffers=band_buffers)


def write(writer: fstore.FeatureWriter, image: int) -> None:
    picture, mask = make_image(writer.meta, image)
    latent = np.random.default_rng(1000 + image).standard_normal(8).astype(np.float32)
    writer.write_image(image, make_maps(image), picture, mask, latent)


@pytest.fixture(scope="module", params=["dense", "pyramid"])
def layout(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def usual(layout: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a store of two images that nothing disturbed."""
    path = tmp_path_factory.mktemp("usual") / "usual.zarr"
    fill(path, make_meta(layout, **META), num_images=2)
    return store_bytes(path)


@pytest.mark.parametrize("band_buffers", variants(1, 5, 2, fast=2))
def test_the_number_of_buffers_changes_no_byte(
    tmp_path: Path, usual: dict[str, bytes], layout: str, band_buffers: int
) -> None:
    writer = create(tmp_path / "other.zarr", layout, band_buffers)
    for image in (0, 1):
        write(writer, image)
    assert store_bytes(tmp_path / "other.zarr") == usual


@pytest.mark.parametrize("layout", ["dense", "pyramid"])
def test_the_marker_is_written_after_every_file_is_forced_to_disk(
    tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[str] = set()
    sync_file, commit = shards.sync_file, ShardWriter.commit

    def recording_sync(location, key: str) -> None:
        sync_file(location, key)
        synced.add(key)

    def checking_commit(self, start: int, count: int, keys: list[str]) -> None:
        written = {key for key in list(self.location.keys()) if f"/c/{start}/" in key}
        assert len(written) > 6
        assert written <= synced
        assert set(keys) == written
        commit(self, start, count, keys)

    monkeypatch.setattr(shards, "sync_file", recording_sync)
    monkeypatch.setattr(ShardWriter, "commit", checking_commit)
    writer = create(tmp_path / "f.zarr", layout)
    for image in (0, 1):
        write(writer, image)
    assert writer.pending() == []


@pytest.mark.parametrize("band_buffers", variants(1, 3))
@pytest.mark.parametrize("failing", variants(1, 5, 0, 3, fast=2))
def test_a_failed_write_is_raised_and_leaves_the_image_pending(
    tmp_path: Path,
    usual: dict[str, bytes],
    layout: str,
    band_buffers: int,
    failing: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    writer = create(tmp_path / "failed.zarr", layout, band_buffers)
    calls, original, lock = 0, ShardWriter.write, threading.Lock()

    def failing_write(self, *arguments) -> list[str]:
        nonlocal calls
        with lock:
            number, calls = calls, calls + 1
        if number == failing:
            raise OSError(28, "No space left on device")
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ShardWriter, "write", failing_write)
        with pytest.raises(OSError, match="No space left"):
            write(writer, 0)
    assert writer.pending() == [0, 1]
    for image in (0, 1):  # the same writer goes on: no buffer was lost
        write(writer, image)
    assert store_bytes(tmp_path / "failed.zarr") == usual


def test_a_stopped_writer_commits_nothing(tmp_path: Path) -> None:
    writer = create(tmp_path / "f.zarr", "dense")
    writer.stop()
    with pytest.raises(InterruptedError):
        write(writer, 0)
    assert writer.pending() == [0, 1]


@pytest.mark.parametrize("num_buffers", [1, 2])
def test_bands_use_the_buffers_given_and_no_more(num_buffers: int) -> None:
    meta = make_meta("dense", **META)
    layers = zip(make_maps(0), meta.layers, strict=True)
    maps = [to_stored(values, layer, meta.grid) for values, layer in layers]
    assert len(maps) == len(NATIVE)
    whole = concatenate_block(maps, meta.layers, meta.grid, (3, 99), (0, 40))
    maker = BandMaker(meta, num_buffers)
    seen: set[int] = set()
    found = []
    for _ in range(2):
        for band in maker.bands(maps):
            found.append(band.values().copy())
            seen.add(band.buffer.data_ptr())
            maker.give_back(band)
    assert np.array_equal(np.concatenate(found), torch.cat([whole, whole]).numpy())
    assert len(seen) <= num_buffers
