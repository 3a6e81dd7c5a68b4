"""Reading regions of sharded arrays such that what is absent or damaged is an error, not zeros.

Zarr returns the fill value for a missing chunk, a missing shard and an empty shard file. Stores of this
project are written whole, zeros included, so in a committed image each of these is corruption. This module
knows arrays, shards and chunks, and not which image is committed: the caller asks only for those.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from google_crc32c import value as crc32c
from zarr.abc.store import SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from fstore import format as fmt
from fstore.errors import CorruptionError
from fstore.local_shards import local_root, read_local_chunk
from fstore.location import chunk_key

FEW_CHUNKS = 4  # these are read one after another faster than zarr-python reads them side by side
_ABSENT = np.iinfo(np.uint64).max


def read_markers(group: zarr.Group, start: int = 0, stop: int | None = None) -> np.ndarray:
    """``committed`` of images [start, stop) as bool; a marker that cannot be read counts as 0."""
    array = group["committed"]
    assert isinstance(array, zarr.Array)
    stop = array.shape[0] if stop is None else stop
    step = array.chunks[0]
    markers = np.zeros(stop - start, dtype=bool)
    for chunk in range(start // step * step, stop, step):
        first, last = max(chunk, start), min(chunk + step, stop)
        try:
            markers[first - start : last - start] = np.asarray(array[first:last]) == 1
        except Exception:  # any failure to decode means the same: not committed
            continue
    return markers


class CheckedArray:
    """An array whose reads raise CorruptionError for absent or damaged chunks. It remembers the shards found
    whole.
    """

    def __init__(self, array: zarr.Array[Any], where: str) -> None:
        self.array = array
        self.where = where
        # Shards found whole -> offset and length of each chunk, [*inner chunks, 2] uint64 (none unsharded).
        self._whole: dict[tuple[int, ...], np.ndarray | None] = {}
        self._root = local_root(array)

    def read(self, region: fmt.Region) -> np.ndarray:
        """The values of ``region``, [stop - start, ...] of the array's dtype. Raises CorruptionError naming
        the chunk. What is returned may be read-only.
        """
        if self._root is not None and len(fmt.units(region, self.array.chunks)) <= FEW_CHUNKS:
            return self.read_in_thread(region)
        for shard in fmt.units(region, self.array.shards or self.array.chunks):
            self._chunk_places(shard)
        selection = tuple(slice(start, stop) for start, stop in region)
        try:
            return np.asarray(self.array[selection])
        except Exception as error:
            self._raise_damaged(region, error)
            raise

    def read_in_thread(self, region: fmt.Region) -> np.ndarray:
        """As ``read``, chunk after chunk in the calling thread, without zarr where the store is a local one.

        For callers that are several threads themselves and read few chunks each. What is returned may be
        read-only.
        """
        if self._root is None:
            return self.read(region)
        chunks = fmt.units(region, self.array.chunks)
        if len(chunks) == 1:
            return self._read_chunk(self._root, chunks[0])[_within(region, chunks[0], self.array.chunks)]
        out = np.empty([stop - start for start, stop in region], self.array.dtype)
        for chunk in chunks:
            sides = zip(region, chunk, self.array.chunks, strict=True)
            part = tuple((max(a, c * side), min(b, (c + 1) * side)) for (a, b), c, side in sides)
            place = tuple(slice(a - r[0], b - r[0]) for (a, b), r in zip(part, region, strict=True))
            out[place] = self._read_chunk(self._root, chunk)[_within(part, chunk, self.array.chunks)]
        return out

    def locate(self, chunk: tuple[int, ...]) -> tuple[str, int, int]:
        """A sharded array's inner chunk on disk: its shard's key, offset and length in bytes there.

        Raises CorruptionError where the shard is not whole.
        """
        assert self.array.shards is not None
        inner = [s // c for s, c in zip(self.array.shards, self.array.chunks, strict=True)]
        shard = tuple(c // n for c, n in zip(chunk, inner, strict=True))
        places = self._chunk_places(shard)
        assert places is not None
        offset, num_bytes = places[tuple(c % n for c, n in zip(chunk, inner, strict=True))].tolist()
        return chunk_key(self.array, shard), offset, num_bytes

    def _read_chunk(self, root: Path, chunk: tuple[int, ...]) -> np.ndarray:
        """One inner chunk as it is stored, the array's edge notwithstanding. Raises CorruptionError."""
        key, offset, num_bytes = self.locate(chunk)
        try:
            return read_local_chunk(root / key, offset, num_bytes, self.array.chunks, self.array.dtype)
        except (ValueError, FileNotFoundError) as error:
            raise CorruptionError(f"{self._name(chunk, 'chunk')} is damaged ({error}); {_WAY_OUT}") from error

    def _chunk_places(self, shard: tuple[int, ...]) -> np.ndarray | None:
        """Where the chunks of a shard lie in it, once it is known to be whole. Raises CorruptionError."""
        if shard not in self._whole:
            self._whole[shard] = self._check_shard(shard)
        return self._whole[shard]

    def _check_shard(self, shard: tuple[int, ...]) -> np.ndarray | None:
        """Refuse a shard that is missing, empty, or whose index lacks a chunk (zarr would read zeros)."""
        key = chunk_key(self.array, shard)
        suffix = None
        if self.array.shards is not None:
            inner = [s // c for s, c in zip(self.array.shards, self.array.chunks, strict=True)]
            suffix = SuffixByteRequest(16 * int(np.prod(inner)) + 4)
        buffer = sync(self.array.store.get(key, default_buffer_prototype(), suffix)) if suffix else None
        if suffix is None:
            present = sync(self.array.store.exists(key)) and sync(self.array.store.getsize(key)) > 0
        else:
            present = buffer is not None and len(buffer) > 0
        if not present:
            raise CorruptionError(f"{self._name(shard, 'shard')} is missing or empty; {_WAY_OUT}")
        if suffix is not None and buffer is not None:
            return self._check_index(buffer.to_bytes(), suffix.suffix, shard, inner)
        return None

    def _check_index(self, index: bytes, size: int, shard: tuple[int, ...], inner: list[int]) -> np.ndarray:
        if len(index) != size or crc32c(index[:-4]) != int.from_bytes(index[-4:], "little"):
            raise CorruptionError(
                f"{self._name(shard, 'shard')} is truncated or its index is damaged; {_WAY_OUT}"
            )
        places = np.frombuffer(index[:-4], dtype="<u8").reshape(*inner, 2)
        for position in np.argwhere(places[..., 0] == _ABSENT):
            chunk = tuple(int(s * n + a) for s, n, a in zip(shard, inner, position, strict=True))
            beyond = any(
                c * side >= size
                for c, side, size in zip(chunk, self.array.chunks, self.array.shape, strict=True)
            )
            if beyond:  # a shard at the array's end has places that no value ever fills
                continue
            raise CorruptionError(f"{self._name(chunk, 'chunk')} is absent from its shard; {_WAY_OUT}")
        return places

    def _raise_damaged(self, region: fmt.Region, error: Exception) -> None:
        """Find the damaged chunk of a region whose read failed, and name it."""
        for chunk in fmt.units(region, self.array.chunks):
            box = [
                slice(c * side, min((c + 1) * side, size))
                for c, side, size in zip(chunk, self.array.chunks, self.array.shape, strict=True)
            ]
            try:
                self.array[tuple(box)]
            except Exception as cause:
                reason = " ".join(str(cause).split())
                raise CorruptionError(
                    f"{self._name(chunk, 'chunk')} is damaged ({reason}); {_WAY_OUT}"
                ) from error

    def _name(self, unit: tuple[int, ...], what: str) -> str:
        side = (self.array.shards if what == "shard" else None) or self.array.chunks
        first = unit[0] * side[0]
        last = min(first + side[0], self.array.shape[0]) - 1
        images = f"image {first}" if first == last else f"images {first} to {last}"
        return f"{self.where}: array {self.array.path!r}, {images}, {what} {list(unit)}"


def _within(part: fmt.Region, chunk: tuple[int, ...], side: tuple[int, ...]) -> tuple[slice, ...]:
    """The slices of a chunk that hold ``part`` of the array, which lies inside it."""
    corner = (c * s for c, s in zip(chunk, side, strict=True))
    return tuple(slice(a - first, b - first) for (a, b), first in zip(part, corner, strict=True))


_WAY_OUT = "the store is corrupt: restore it from a copy, or write it again with --overwrite"
