"""Reads regions of sharded arrays. What is absent or damaged is an error, and never read as zeros.

Zarr returns the fill value for a missing chunk, a missing shard and an empty shard file. Stores of this
project are written whole, zeros included, so that in a committed image each of these is corruption. This
module knows arrays, shards and chunks. It does not know which images are committed: the caller asks only for
those.
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
from zarr.storage import LocalStore

from fstore import format as fmt
from fstore.errors import CorruptionError, StoreError
from fstore.inventory import chunk_key
from fstore.local_shards import decode_chunk, local_root, read_file, read_local_chunk
from fstore.location import Location

FEW_CHUNKS = 4  # these are read one after another faster than zarr-python reads them side by side
_ABSENT = np.iinfo(np.uint64).max


def read_markers(
    array: zarr.Array[Any], location: Location, start: int = 0, stop: int | None = None
) -> np.ndarray:
    """``committed`` of images [start, stop) as bool. A marker that is missing or damaged counts as 0.

    Raises UnreadableError where the system does not let a marker be read: nobody knows what it says.
    """
    stop = array.shape[0] if stop is None else stop
    step = array.chunks[0]
    markers = np.zeros(stop - start, dtype=bool)
    for chunk in range(start // step, -(-stop // step)):
        try:
            values = read_marker_file(array, location, chunk)
        except CorruptionError:
            continue
        first, last = max(chunk * step, start), min((chunk + 1) * step, stop)
        markers[first - start : last - start] = values[first - chunk * step : last - chunk * step] == 1
    return markers


def read_marker_file(array: zarr.Array[Any], location: Location, chunk: int) -> np.ndarray:
    """One chunk of ``committed``, uint8; zeros where no file is there. Raises CorruptionError for damage,
    UnreadableError where the file cannot be read.
    """
    what = f"array 'committed', chunk [{chunk}]"
    content = _get(array, location, chunk_key(array, [chunk]), what)
    if content is None:
        return np.zeros(array.chunks, np.uint8)
    try:
        values = decode_chunk(content, array.chunks, array.dtype)
    except ValueError as error:
        raise CorruptionError(f"{location}: {what} is damaged ({error}); {WAY_OUT}") from None
    return values


def _get(
    array: zarr.Array[Any], location: Location, key: str, what: str, suffix: int | None = None
) -> bytes | None:
    """A file of the array's store, or its last ``suffix`` bytes; None where it is not there. Raises
    UnreadableError for any other reason.
    """
    part = None if suffix is None else SuffixByteRequest(suffix)
    try:
        if suffix is None and isinstance(array.store, LocalStore):
            return read_file(Path(array.store.root) / key)
        buffer = sync(array.store.get(key, default_buffer_prototype(), part))
    except MemoryError:
        raise
    except Exception as error:
        raise location.unreadable(what, error) from None
    return None if buffer is None else buffer.to_bytes()


class CheckedArray:
    """An array whose reads raise CorruptionError for absent or damaged chunks, and UnreadableError where the
    system does not let a file be read. It remembers the shards found whole.
    """

    def __init__(self, array: zarr.Array[Any], location: Location) -> None:
        self.array = array
        self.location = location
        # Shards found whole -> offset and length of each chunk, [*inner chunks, 2] uint64.
        self._whole: dict[tuple[int, ...], np.ndarray] = {}
        self._root = local_root(array)

    def read(self, region: fmt.Region) -> np.ndarray:
        """The values of ``region``, [stop - start, ...] of the array's dtype. Raises CorruptionError naming
        the chunk.
        """
        shards = self.array.shards
        few = self._root is not None and len(fmt.units(region, self.array.chunks)) <= FEW_CHUNKS
        if few or shards is None:
            return np.require(self._read_chunks(region), requirements="W")
        for shard in fmt.units(region, shards):
            self._chunk_places(shard)
        selection = tuple(slice(start, stop) for start, stop in region)
        try:
            return np.asarray(self.array[selection])
        except MemoryError:
            raise
        except Exception as error:
            raise self._named(region, error) from None

    def read_in_thread(self, region: fmt.Region) -> np.ndarray:
        """The same as ``read``, chunk after chunk in the calling thread; a local store is read without zarr.

        It is for callers that run several threads themselves, each of which reads few chunks. The array that
        it returns may be read-only.
        """
        return self.read(region) if self._root is None else self._read_chunks(region)

    def _read_chunks(self, region: fmt.Region) -> np.ndarray:
        """``region``, read chunk after chunk without zarr. It is read-only where it lies in one chunk."""
        chunks = fmt.units(region, self.array.chunks)
        if len(chunks) == 1:
            return self._read_chunk(chunks[0])[_within(region, chunks[0], self.array.chunks)]
        out = np.empty([stop - start for start, stop in region], self.array.dtype)
        for chunk in chunks:
            sides = zip(region, chunk, self.array.chunks, strict=True)
            part = tuple((max(a, c * side), min(b, (c + 1) * side)) for (a, b), c, side in sides)
            place = tuple(slice(a - r[0], b - r[0]) for (a, b), r in zip(part, region, strict=True))
            out[place] = self._read_chunk(chunk)[_within(part, chunk, self.array.chunks)]
        return out

    def locate(self, chunk: tuple[int, ...]) -> tuple[str, int, int]:
        """A sharded array's inner chunk on disk: its shard's key, offset and length in bytes there.

        Raises CorruptionError where the shard is not whole.
        """
        assert self.array.shards is not None
        inner = [s // c for s, c in zip(self.array.shards, self.array.chunks, strict=True)]
        shard = tuple(c // n for c, n in zip(chunk, inner, strict=True))
        places = self._chunk_places(shard)
        offset, num_bytes = places[tuple(c % n for c, n in zip(chunk, inner, strict=True))].tolist()
        return chunk_key(self.array, shard), offset, num_bytes

    def _read_chunk(self, chunk: tuple[int, ...]) -> np.ndarray:
        """One chunk as it is stored: whole, also at the edge of the array. Raises CorruptionError."""
        name = self._name(chunk, "chunk")
        try:
            if self._root is not None:
                key, offset, num_bytes = self.locate(chunk)
                place = self._root / key
                return read_local_chunk(place, offset, num_bytes, self.array.chunks, self.array.dtype)
            content = _get(self.array, self.location, chunk_key(self.array, chunk), name)
            if not content:
                raise CorruptionError(f"{self.location}: {name} is missing or empty; {WAY_OUT}")
            return decode_chunk(content, self.array.chunks, self.array.dtype)
        except (ValueError, FileNotFoundError) as error:
            raise self._damaged(chunk, error) from None
        except OSError as error:
            raise self.location.unreadable(name, error) from None

    def _chunk_places(self, shard: tuple[int, ...]) -> np.ndarray:
        """Where the chunks of a shard lie in it. Raises CorruptionError for a shard that is not whole."""
        if shard not in self._whole:
            self._whole[shard] = self._check_shard(shard)
        return self._whole[shard]

    def _check_shard(self, shard: tuple[int, ...]) -> np.ndarray:
        """Refuse a shard that is missing, empty, or whose index lacks a chunk (zarr would read zeros)."""
        assert self.array.shards is not None
        name = self._name(shard, "shard")
        inner = [s // c for s, c in zip(self.array.shards, self.array.chunks, strict=True)]
        size = 16 * int(np.prod(inner)) + 4
        content = _get(self.array, self.location, chunk_key(self.array, shard), name, size)
        if not content:
            raise CorruptionError(f"{self.location}: {name} is missing or empty; {WAY_OUT}")
        return self._check_index(content, size, shard, inner)

    def _check_index(self, index: bytes, size: int, shard: tuple[int, ...], inner: list[int]) -> np.ndarray:
        if len(index) != size or crc32c(index[:-4]) != int.from_bytes(index[-4:], "little"):
            name = self._name(shard, "shard")
            raise CorruptionError(f"{self.location}: {name} is truncated or its index is damaged; {WAY_OUT}")
        places = np.frombuffer(index[:-4], dtype="<u8").reshape(*inner, 2)
        for position in np.argwhere(places[..., 0] == _ABSENT):
            chunk = tuple(int(s * n + a) for s, n, a in zip(shard, inner, position, strict=True))
            beyond = any(
                c * side >= size
                for c, side, size in zip(chunk, self.array.chunks, self.array.shape, strict=True)
            )
            if beyond:  # a shard at the array's end has places that no value ever fills
                continue
            name = self._name(chunk, "chunk")
            raise CorruptionError(f"{self.location}: {name} is absent from its shard; {WAY_OUT}")
        return places

    def _named(self, region: fmt.Region, error: Exception) -> StoreError:
        """The error of a region whose read failed, with the chunk that is to blame."""
        for chunk in fmt.units(region, self.array.chunks):
            box = [
                slice(c * side, min((c + 1) * side, size))
                for c, side, size in zip(chunk, self.array.chunks, self.array.shape, strict=True)
            ]
            try:
                self.array[tuple(box)]
            except OSError as cause:
                return self.location.unreadable(self._name(chunk, "chunk"), cause)
            except Exception as cause:
                return self._damaged(chunk, cause)
        return self.location.unreadable(f"array {self.array.path!r}", error)  # now it can be read

    def _damaged(self, chunk: tuple[int, ...], cause: Exception) -> CorruptionError:
        reason = self.location.hide(str(cause))
        return CorruptionError(
            f"{self.location}: {self._name(chunk, 'chunk')} is damaged ({reason}); {WAY_OUT}"
        )

    def _name(self, unit: tuple[int, ...], what: str) -> str:
        array = f"array {self.array.path!r}"
        if self.array.path == "average_latent":  # it belongs to no image
            return f"{array}, {what} {list(unit)}"
        side = (self.array.shards if what == "shard" else None) or self.array.chunks
        first = unit[0] * side[0]
        last = min(first + side[0], self.array.shape[0]) - 1
        images = f"image {first}" if first == last else f"images {first} to {last}"
        return f"{array}, {images}, {what} {list(unit)}"


def _within(part: fmt.Region, chunk: tuple[int, ...], side: tuple[int, ...]) -> tuple[slice, ...]:
    """The slices of a chunk that hold ``part`` of the array, which lies inside it."""
    corner = (c * s for c, s in zip(chunk, side, strict=True))
    return tuple(slice(a - first, b - first) for (a, b), first in zip(part, corner, strict=True))


WAY_OUT = "the store is corrupt: restore it from a copy, or write it again with --overwrite"
