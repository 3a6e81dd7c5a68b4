"""Chunks of a sharded array on a local disk, one ``pread`` and one decompression each, in the calling thread.

zarr-python reads through an event loop, which costs the reader of single chunks about as much as their
decompression, and keeps threads from reading side by side. This is that for the one encoding that this
project's stores have; any other array is left to zarr-python. It knows files and bytes, not what they mean.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from google_crc32c import value as crc32c
from numcodecs.zstd import decompress
from zarr.storage import LocalStore

CHECKSUM_BYTES = 4
_ENCODING = ["bytes", "zstd", "crc32c"]


def local_root(array: zarr.Array[Any]) -> Path | None:
    """The folder of the array's store if ``read_local_chunk`` can read its chunks, else None."""
    store, metadata = array.store, array.metadata.to_dict()
    codecs: Any = metadata.get("codecs", ())
    if not isinstance(store, LocalStore) or [codec["name"] for codec in codecs] != ["sharding_indexed"]:
        return None
    inner = codecs[0]["configuration"]["codecs"]
    endian = inner[0].get("configuration", {}).get("endian", "little")
    plain = [codec["name"] for codec in inner] == _ENCODING and endian == "little"
    at_end = codecs[0]["configuration"].get("index_location", "end") == "end"
    return Path(store.root) if plain and at_end and np.little_endian else None


def read_local_chunk(
    file: Path, offset: int, num_bytes: int, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> np.ndarray:
    """The chunk at ``offset`` of a shard: ``shape``, read-only.

    Raises ValueError where it is damaged, OSError where it cannot be read.
    """
    content_bytes = num_bytes - CHECKSUM_BYTES
    descriptor = os.open(file, os.O_RDONLY)
    try:
        content = os.pread(descriptor, max(content_bytes, 0), offset)
        stored = os.pread(descriptor, CHECKSUM_BYTES, offset + content_bytes)
    finally:
        os.close(descriptor)
    if len(content) + len(stored) != num_bytes:
        raise ValueError(f"its {num_bytes} bytes at {offset} reach beyond the shard's end")
    if crc32c(content) != int.from_bytes(stored, "little"):
        raise ValueError("its crc32c does not fit its bytes")
    try:
        decoded = decompress(content)
    except RuntimeError as error:
        raise ValueError(str(error)) from None
    return np.frombuffer(decoded, dtype).reshape(shape)
