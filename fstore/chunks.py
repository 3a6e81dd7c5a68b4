"""Reads regions of sharded arrays. What is absent or damaged is an error, and never read as zeros.

Zarr returns the fill value for a missing chunk, a missing shard and an empty shard file. Stores of this
project are written whole, zeros included, so that in a committed image each of these is corruption. This
module knows arrays, shards and chunks. It does not know which images are committed: the caller asks only for
those.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import zarr
from google_crc32c import value as crc32c
from zarr.abc.store import SuffixByteRequest
from zarr.core.sync import sync
from zarr.storage import LocalStore

from fstore import format as fmt
from fstore.errors import CorruptionError, StoreError
from fstore.inventory import chunk_key
from fstore.local_shards import decode_chunk, local_root, most_bytes, read_local_chunk, read_ranges
from fstore.location import RESTORE, Location
from fstore.markers import read_marker_file as read_marker_file
from fstore.markers import read_markers as read_markers
from fstore.stored_files import REQUESTS_AT_ONCE, WAY_OUT, FileGetter, get_file
from fstore.zstd_frames import LONGEST_HEADER, declared_size

Chunk = tuple[int, ...]
AVERAGE_LATENT = "average_latent"
FEW_CHUNKS = 4  # these are read one after another faster than zarr-python reads them side by side
_ABSENT = np.iinfo(np.uint64).max
_LAST_OFFSET = 2**62  # of a chunk in a file


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
        self.is_local = isinstance(array.store, LocalStore)

    def read(self, region: fmt.Region) -> np.ndarray:
        """The values of ``region``, [stop - start, ...] of the array's dtype. Raises CorruptionError naming
        the chunk.
        """
        shards = self.array.shards
        if not self.is_local:
            return np.require(read_together([(self, region)])[0], requirements="W")
        few = self._root is not None and len(fmt.units(region, self.array.chunks)) <= FEW_CHUNKS
        if few or shards is None:
            return np.require(self._read_chunks(region), requirements="W")
        for shard in fmt.units(region, shards):
            self._chunk_places(shard)
        if self._root is not None and not self._claims_fit(region):  # zarr would give memory to any claim
            return np.require(self._read_chunks(region), requirements="W")
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
        return self._assembled(region, chunks, (self._read_chunk(chunk) for chunk in chunks))

    def _claims_fit(self, region: fmt.Region) -> bool:
        """Whether the frame of every chunk of a local region says that it holds the bytes of a chunk."""
        assert self._root is not None
        expected = math.prod(self.array.chunks) * self.array.dtype.itemsize
        places: dict[str, list[tuple[int, int]]] = {}
        for chunk in fmt.units(region, self.array.chunks):
            key, offset, num_bytes = self.locate(chunk)
            places.setdefault(key, []).append((offset, min(num_bytes, LONGEST_HEADER)))
        try:
            starts = [
                start for key, of_file in places.items() for start in read_ranges(self._root / key, of_file)
            ]
            return all(declared_size(start) == expected for start in starts)
        except (OSError, ValueError):
            return False

    def _assembled(
        self, region: fmt.Region, chunks: Sequence[Chunk], values: Iterable[np.ndarray]
    ) -> np.ndarray:
        """``region`` from its decoded ``chunks``. It is read-only where it lies in one."""
        if len(chunks) == 1:
            (value,) = values
            return value[_within(region, chunks[0], self.array.chunks)]
        out = np.empty([stop - start for start, stop in region], self.array.dtype)
        for chunk, value in zip(chunks, values, strict=True):
            sides = zip(region, chunk, self.array.chunks, strict=True)
            part = tuple((max(a, c * side), min(b, (c + 1) * side)) for (a, b), c, side in sides)
            place = tuple(slice(a - r[0], b - r[0]) for (a, b), r in zip(part, region, strict=True))
            out[place] = value[_within(part, chunk, self.array.chunks)]
        return out

    def decode(self, chunk: Chunk, content: bytes, into: np.ndarray | None = None) -> np.ndarray:
        """A chunk from its bytes: the array's chunk shape, read-only, or in the memory of ``into``.

        Raises CorruptionError.
        """
        try:
            return decode_chunk(content, self.array.chunks, self.array.dtype, into)
        except ValueError as error:
            raise self._damaged(chunk, error) from None

    async def fetch_at_url(self, chunks: Sequence[Chunk], gate: asyncio.Semaphore) -> list[bytes]:
        """The bytes of ``chunks`` of a store at a URL, in their order, all asked for at once; nothing of them
        is checked but that they are there. Raises CorruptionError where one is absent.
        """
        files = FileGetter(self.array, self.location, gate)
        if self.array.shards is None:
            return list(await asyncio.gather(*(self._fetch_file(files, chunk) for chunk in chunks)))
        inner = [s // c for s, c in zip(self.array.shards, self.array.chunks, strict=True)]
        by_shard: dict[Chunk, list[int]] = {}
        for place, chunk in enumerate(chunks):
            shard = tuple(c // n for c, n in zip(chunk, inner, strict=True))
            by_shard.setdefault(shard, []).append(place)
        of_shards = await asyncio.gather(
            *(
                self._fetch_shard(files, shard, [chunks[place] for place in places])
                for shard, places in by_shard.items()
            )
        )
        found = [b""] * len(chunks)
        for places, contents in zip(by_shard.values(), of_shards, strict=True):
            for place, content in zip(places, contents, strict=True):
                found[place] = content
        return found

    async def _fetch_file(self, files: FileGetter, chunk: Chunk) -> bytes:
        name = self._name(chunk, "chunk")
        content = await files.get(chunk_key(self.array, chunk), name)
        if not content:
            raise self._absent(chunk, "chunk")
        return content

    async def _fetch_shard(self, files: FileGetter, shard: Chunk, chunks: Sequence[Chunk]) -> list[bytes]:
        """Some chunks of one shard: by one request where they are all of it, else by its index first."""
        key, name = chunk_key(self.array, shard), self._name(shard, "shard")
        inner, size = self._index_size()
        content: bytes | None = None
        if shard not in self._whole:
            all_of_it = len(set(chunks)) == len(self._chunks_of(shard, inner))
            content = await files.get(key, name, None if all_of_it else SuffixByteRequest(size))
            if not content:
                raise self._absent(shard, "shard")
            self._whole[shard] = self._check_index(content[-size:], size, shard, inner)
            content = content if all_of_it else None
        index = self._whole[shard]
        places = [
            (int(offset), int(num_bytes))
            for chunk in chunks
            for offset, num_bytes in [index[tuple(c % n for c, n in zip(chunk, inner, strict=True))]]
        ]
        if content is not None:
            return [content[offset : offset + num_bytes] for offset, num_bytes in places]
        return await files.get_pieces(key, name, places)

    def _chunks_of(self, shard: Chunk, inner: list[int]) -> list[Chunk]:
        """The chunks of a shard that hold values of the array."""
        corner = zip(shard, inner, self.array.chunks, self.array.shape, strict=True)
        return fmt.units(
            tuple((s * n * side, min((s + 1) * n * side, size)) for s, n, side, size in corner),
            self.array.chunks,
        )

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
            content = get_file(self.array, self.location, chunk_key(self.array, chunk), name)
            if not content:
                raise self._absent(chunk, "chunk")
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
        name = self._name(shard, "shard")
        inner, size = self._index_size()
        content = get_file(self.array, self.location, chunk_key(self.array, shard), name, size)
        if not content:
            raise self._absent(shard, "shard")
        return self._check_index(content, size, shard, inner)

    def _index_size(self) -> tuple[list[int], int]:
        """Chunks of a shard along each axis, and the bytes of its index, which is its end."""
        assert self.array.shards is not None
        inner = [s // c for s, c in zip(self.array.shards, self.array.chunks, strict=True)]
        return inner, 16 * int(np.prod(inner)) + 4

    def _check_index(self, index: bytes, size: int, shard: tuple[int, ...], inner: list[int]) -> np.ndarray:
        if len(index) != size or crc32c(index[:-4]) != int.from_bytes(index[-4:], "little"):
            name = self._name(shard, "shard")
            raise CorruptionError(
                f"{self.location}: {name} is truncated or its index is damaged; {self._way_out}"
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
            name = self._name(chunk, "chunk")
            raise CorruptionError(f"{self.location}: {name} is absent from its shard; {self._way_out}")
        self._check_places(places, shard, inner)
        return places

    def _check_places(self, places: np.ndarray, shard: tuple[int, ...], inner: list[int]) -> None:
        """Refuse an index that claims more bytes than a chunk has, or at a place that no file has, before
        memory is asked for.
        """
        present = places[..., 0] != _ABSENT
        wrong = present & ((places[..., 1] > most_bytes(self.array)) | (places[..., 0] > _LAST_OFFSET))
        for position in np.argwhere(wrong)[:1]:
            offset, num_bytes = places[tuple(position)].tolist()
            chunk = tuple(int(s * n + a) for s, n, a in zip(shard, inner, position, strict=True))
            raise CorruptionError(
                f"{self.location}: {self._name(chunk, 'chunk')} is damaged (the shard's index says "
                f"{num_bytes} bytes at {offset}); {self._way_out}"
            )

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

    def _absent(self, unit: Chunk, what: str) -> CorruptionError:
        """A file of a committed image that is not there, or empty, where zarr would read zeros."""
        key = chunk_key(self.array, unit)
        return CorruptionError(
            f"{self.location}: {self._name(unit, what)} is missing or empty ({key}); {self._way_out}"
        )

    def _damaged(self, chunk: tuple[int, ...], cause: Exception) -> CorruptionError:
        reason = self.location.hide(str(cause))
        return CorruptionError(
            f"{self.location}: {self._name(chunk, 'chunk')} is damaged ({reason}); {self._way_out}"
        )

    @property
    def _way_out(self) -> str:
        """What a user can do about damage. What belongs to no image cannot be made again alone."""
        return RESTORE if self.array.path == AVERAGE_LATENT else WAY_OUT

    def _name(self, unit: tuple[int, ...], what: str) -> str:
        array = f"array {self.array.path!r}"
        if self.array.path == AVERAGE_LATENT:
            return f"{array}, {what} {list(unit)}"
        side = (self.array.shards if what == "shard" else None) or self.array.chunks
        first = unit[0] * side[0]
        last = min(first + side[0], self.array.shape[0]) - 1
        images = f"image {first}" if first == last else f"images {first} to {last}"
        return f"{array}, {images}, {what} {list(unit)}"


def read_together(wanted: Sequence[tuple[CheckedArray, fmt.Region]]) -> list[np.ndarray]:
    """Regions of several arrays, each as ``read_in_thread`` gives it. At a URL all are asked for at once."""
    if all(checked.is_local for checked, _ in wanted):
        return [checked.read_in_thread(region) for checked, region in wanted]
    chunks = [fmt.units(region, checked.array.chunks) for checked, region in wanted]
    contents = fetch_together([(checked, some) for (checked, _), some in zip(wanted, chunks, strict=True)])
    found = []
    for (checked, region), some, encoded in zip(wanted, chunks, contents, strict=True):
        values = (checked.decode(chunk, content) for chunk, content in zip(some, encoded, strict=True))
        found.append(checked._assembled(region, some, values))
    return found


def fetch_together(wanted: Sequence[tuple[CheckedArray, Sequence[Chunk]]]) -> list[list[bytes]]:
    """The bytes of chunks of several arrays of a store at a URL, all asked for at once."""

    async def fetched() -> list[list[bytes]]:
        gate = asyncio.Semaphore(REQUESTS_AT_ONCE)
        return list(await asyncio.gather(*(checked.fetch_at_url(some, gate) for checked, some in wanted)))

    return sync(fetched())


def _within(part: fmt.Region, chunk: tuple[int, ...], side: tuple[int, ...]) -> tuple[slice, ...]:
    """The slices of a chunk that hold ``part`` of the array, which lies inside it."""
    corner = (c * s for c, s in zip(chunk, side, strict=True))
    return tuple(slice(a - first, b - first) for (a, b), first in zip(part, corner, strict=True))
