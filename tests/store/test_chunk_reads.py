"""What is read for what is asked: a chunk costs a chunk, not the shard that it lies in."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stores import make_meta

import fstore
from fstore import chunks
from fstore import format as fmt
from fstore.views import View

SIDE = 24


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reads") / "d.zarr"
    writer = fstore.create_dataset(
        path, fmt.DatasetMeta((SIDE, SIDE), make_meta().classes, 4), num_images=130
    )
    for task in writer.pending_tasks():
        specs = fmt.dataset_arrays(writer.meta, len(writer.task_images(task)))
        random = np.random.default_rng(task)
        writer.write_task(task, {s.name: random.integers(0, 4, s.shape).astype(s.dtype) for s in specs})
    writer.close()
    return path


@pytest.mark.parametrize("name", ["images", "labels", "divergence"])
def test_one_image_of_a_dataset_is_one_chunk(path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fstore.open(path).lazy(name).compute(scheduler="sync")
    read, read_chunk = [], chunks.read_local_chunk
    monkeypatch.setattr(
        chunks, "read_local_chunk", lambda *where: (read.append(where), read_chunk(*where))[1]
    )
    array = fstore.open(path).lazy(name)
    for image in (0, 3, 63, 64, 129, 3, -1):
        read.clear()
        assert np.array_equal(array[image].compute(scheduler="sync"), whole[image])
        assert len(read) == 1
        read.clear()
        assert np.array_equal(array[image, 3:7].compute(scheduler="sync"), whole[image, 3:7])
        assert len(read) == 1
    read.clear()
    assert np.array_equal(array[62:66:2].compute(scheduler="sync"), whole[62:66:2])
    assert len(read) == 2


def test_the_bytes_read_for_an_image_are_its_chunks_and_once_the_shards_index(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, pread = [], os.pread
    monkeypatch.setattr(os, "pread", lambda *a: (read.append(a[1]), pread(*a))[1])
    images = fstore.open(path).images
    for image in range(64):
        images[image].compute(scheduler="sync")
    stored = sum(p.stat().st_size for p in (path / "images" / "c" / "0").rglob("*") if p.is_file())
    assert sum(read) == stored - (16 * 64 + 4)  # every byte of the shard once, but for its index


axis_keys = st.one_of(
    st.integers(-5, 4),
    st.slices(5),
    st.lists(st.integers(-5, 4), max_size=6).map(lambda values: np.array(values, dtype=np.int64)),
)


@given(st.tuples(axis_keys, axis_keys, axis_keys), st.sets(st.integers(0, 11), min_size=5, max_size=5))
def test_a_view_is_indexed_as_an_array_axis_by_axis_and_reads_no_image_too_many(
    key: tuple, ids: set[int]
) -> None:
    on_disk = np.arange(12 * 5 * 5).reshape(12, 5, 5)
    image_ids = np.array(sorted(ids))
    asked: list[int] = []

    def read(region: fmt.Region) -> np.ndarray:
        asked.extend(range(*region[0]))
        return on_disk[tuple(slice(a, b) for a, b in region)]

    expected = on_disk[image_ids]
    for axis in (2, 1, 0):  # from the last: an integer drops its axis
        expected = expected[(slice(None),) * axis + (key[axis],)]
    found = View((5, 5, 5), "int64", image_ids, read)[key]
    assert found.shape == expected.shape
    assert np.array_equal(found, expected)
    assert sorted(asked) == sorted(set(image_ids[key[0]].ravel().tolist()))


def test_an_index_out_of_range_is_refused() -> None:
    view = View((2, 3), "uint8", np.arange(2), lambda region: np.zeros([b - a for a, b in region], np.uint8))
    for key in (2, -3, (0, 3), ([0, 2],)):
        with pytest.raises(IndexError, match="out of range"):
            view[key]
