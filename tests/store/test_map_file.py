"""Maps in a file without a name: pixels as the store gives them, and all bytes written, or an error."""

from __future__ import annotations

import errno
import os
import resource
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.training import HEIGHT, WIDTH, write_store

import fstore
from fstore.map_file import MapFile

NUM = 2


@pytest.fixture
def store(tmp_path: Path) -> fstore.FeatureStore:
    found = fstore.open(write_store(tmp_path / "features.zarr", "pyramid", NUM))
    assert isinstance(found, fstore.FeatureStore)
    return found


def maps_of(store: fstore.FeatureStore, folder: Path) -> MapFile:
    return MapFile(store, range(NUM), folder, layers=store.meta.layers, read=store.native_maps)


def all_pixels(source: MapFile | fstore.FeatureStore) -> np.ndarray:
    return source.pixels(*np.indices((NUM, HEIGHT, WIDTH)).reshape(3, -1))


class PartByPart:
    """A file of which a write takes a few bytes alone, as that of a system takes 2 GiB at most."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, content: memoryview) -> int:
        return int(self._file.write(content[:7]))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_what_the_system_takes_in_parts_is_written_and_read_whole(
    store: fstore.FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make: Callable[..., Any] = tempfile.TemporaryFile
    pread, expected = os.pread, all_pixels(store)
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "TemporaryFile", lambda *args, **more: PartByPart(make(*args, **more)))
        maps = maps_of(store, tmp_path)
        patch.setattr(os, "pread", lambda file, size, place: pread(file, min(size, 1001), place))
        np.testing.assert_array_equal(all_pixels(maps), expected)
    np.testing.assert_array_equal(all_pixels(maps_of(store, tmp_path)), expected)


@contextmanager
def files_of_at_most(num_bytes: int) -> Iterator[None]:
    """A block in which no file may become longer."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python begins; else the signal ends it
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("left_out", [1, 100])
def test_what_the_system_does_not_take_is_an_error_that_names_the_folder(
    store: fstore.FeatureStore, tmp_path: Path, left_out: int
) -> None:
    num_bytes = NUM * sum(part.numel() * part.element_size() for part in store.native_maps(0))
    with files_of_at_most(num_bytes):
        maps_of(store, tmp_path)
    with files_of_at_most(num_bytes - left_out), pytest.raises(OSError) as caught:
        maps_of(store, tmp_path)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(tmp_path))


def test_a_file_that_is_shorter_than_it_was_is_an_error(store: fstore.FeatureStore, tmp_path: Path) -> None:
    maps = maps_of(store, tmp_path)
    os.truncate(maps._file.fileno(), 100)
    with pytest.raises(OSError, match="ends too early"):
        all_pixels(maps)
