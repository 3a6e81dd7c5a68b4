"""Reads chunks of a sharded array on a local disk in the calling thread: one ``pread`` and one decompression.

zarr-python reads through an event loop. For single chunks the loop costs about as much time as their
decompression, and it keeps threads from reading at the same time. This module reads the one encoding that the
format has; the caller has checked it. It knows files and bytes. It does not know what they mean.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from google_crc32c import value as crc32c
from numcodecs.zstd import decompress
from zarr.storage import LocalStore

from fstore.zstd_frames import LONGEST_HEADER, declared_size

CHECKSUM_BYTES = 4


def local_root(array: zarr.Array[Any]) -> Path | None:
    """The folder of the array's store if ``read_local_chunk`` can read its chunks, else None."""
    store = array.store
    sharded_here = isinstance(store, LocalStore) and array.shards is not None and np.little_endian
    return Path(store.root) if sharded_here and isinstance(store, LocalStore) else None


def decode_chunk(
    content: bytes, shape: tuple[int, ...], dtype: np.dtype[Any], into: np.ndarray | None = None
) -> np.ndarray:
    """A chunk from its bytes, checksum at the end: ``shape``, read-only. With ``into``, C-contiguous and as
    many bytes, it lies there. Raises ValueError for damage.
    """
    if len(content) < CHECKSUM_BYTES:
        raise ValueError(f"it has {len(content)} bytes, too few for its crc32c")
    packed = np.frombuffer(content, np.uint8, len(content) - CHECKSUM_BYTES)  # a slice would copy the chunk
    if crc32c(packed) != int.from_bytes(content[-CHECKSUM_BYTES:], "little"):
        raise ValueError("its crc32c does not fit its bytes")
    expected = math.prod(shape) * dtype.itemsize
    declared = declared_size(packed[:LONGEST_HEADER].tobytes())
    # Before memory is given to it: a few kilobytes can claim to be gigabytes.
    if declared is not None and declared != expected:
        raise ValueError(f"it unpacks to {declared} bytes, and a chunk has {expected}")
    # A frame that does not say its size is given a chunk's memory, and no more.
    target = np.empty(expected, np.uint8) if into is None and declared is None else into
    try:
        decoded = decompress(packed, target)
    except RuntimeError as error:
        raise ValueError(str(error)) from None
    values = np.frombuffer(decoded, dtype).reshape(shape)
    if into is None:
        values.flags.writeable = False
        return values
    return into.reshape(shape)


def read_local_chunk(
    file: Path, offset: int, num_bytes: int, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> np.ndarray:
    """The chunk at ``offset`` of a shard: ``shape``, read-only.

    Raises ValueError where it is damaged, OSError where it cannot be read.
    """
    descriptor = os.open(file, os.O_RDONLY)
    try:
        content = os.pread(descriptor, num_bytes, offset)
    finally:
        os.close(descriptor)
    if len(content) != num_bytes:
        raise ValueError(f"its {num_bytes} bytes at {offset} reach beyond the shard's end")
    return decode_chunk(content, shape, dtype)


def most_bytes(array: zarr.Array[Any]) -> int:
    """The most bytes that a chunk of the array takes on disk: its values, if zstd cannot make them smaller,
    and what surrounds them.
    """
    raw = math.prod(array.chunks) * array.dtype.itemsize
    return raw + raw // 128 + 2**16


def read_file(file: Path) -> bytes | None:
    """All bytes of a file; None where there is none. Through zarr's event loop a small file takes twenty
    times as long, and a large dataset has thousands of them. Raises OSError where it cannot be read.
    """
    try:
        with os.fdopen(os.open(file, os.O_RDONLY), "rb") as opened:
            return opened.read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):  # as zarr's local store has it
        return None


def read_ranges(file: Path, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """The bytes at each (offset, number of bytes) of a file, fewer where it ends before. Raises OSError."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        return [os.pread(descriptor, num_bytes, offset) for offset, num_bytes in ranges]
    finally:
        os.close(descriptor)
