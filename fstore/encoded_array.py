"""Chunks of an array as their bytes on disk: fetched many at once, and decoded when their turn comes.

A shuffle buffer that holds them takes less memory than decoded images, and one request of many chunks waits
once where many requests of one wait each. It knows arrays, shards and chunks, and not what they mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from zarr.abc.store import RangeByteRequest
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.core.common import concurrent_map
from zarr.core.sync import sync

from fstore.chunks import WAY_OUT, CheckedArray
from fstore.errors import CorruptionError
from fstore.inventory import chunk_key
from fstore.local_shards import decode_chunk, read_ranges

Chunk = tuple[int, ...]
REQUESTS_AT_ONCE = 64  # of a store at a URL


class EncodedArray(CheckedArray):
    """A checked array that also gives its chunks undecoded. What a chunk is: the inner chunk of a shard, or
    a file of its own where the array has no shards.
    """

    def fetch(self, chunks: Sequence[Chunk]) -> list[bytes]:
        """The bytes of ``chunks``, in their order; nothing of them is checked but that they are there.

        Raises CorruptionError where one is absent, UnreadableError where the system refuses to read it.
        """
        return self._fetch_here(chunks) if self._root is not None else self._fetch_by_store(chunks)

    def decode(self, chunk: Chunk, content: bytes, into: np.ndarray | None = None) -> np.ndarray:
        """A chunk from its bytes: the array's chunk shape, read-only, or in the memory of ``into``.

        Raises CorruptionError.
        """
        try:
            return decode_chunk(content, self.array.chunks, self.array.dtype, into)
        except ValueError as error:
            raise self._damaged(chunk, error) from None

    def _fetch_here(self, chunks: Sequence[Chunk]) -> list[bytes]:
        """From files of a local disk, without zarr. Each file is opened once and read from front to back."""
        assert self._root is not None
        places = [self.locate(chunk) for chunk in chunks]  # key of the file, offset, bytes
        order = sorted(range(len(chunks)), key=places.__getitem__)
        found = [b""] * len(chunks)
        for key, members in groupby(order, key=lambda i: places[i][0]):
            of_file = list(members)
            try:
                contents = read_ranges(self._root / key, [places[i][1:] for i in of_file])
            except FileNotFoundError as error:
                raise self._damaged(chunks[of_file[0]], error) from None
            except OSError as error:
                raise self.location.unreadable(self._name(chunks[of_file[0]], "chunk"), error) from None
            for i, content in zip(of_file, contents, strict=True):
                found[i] = content
        return found

    def _fetch_by_store(self, chunks: Sequence[Chunk]) -> list[bytes]:
        """By zarr's store, many requests at once."""
        store, prototype = self.array.store, default_buffer_prototype()
        requests: list[tuple[str, RangeByteRequest | None]] = []
        for chunk in chunks:
            if self.array.shards is None:
                requests.append((chunk_key(self.array, chunk), None))
            else:
                key, offset, num_bytes = self.locate(chunk)
                requests.append((key, RangeByteRequest(offset, offset + num_bytes)))

        async def get(key: str, part: RangeByteRequest | None) -> Buffer | None:
            return await store.get(key, prototype, part)

        try:
            buffers = sync(concurrent_map(requests, get, REQUESTS_AT_ONCE))
        except MemoryError:
            raise
        except Exception as error:
            raise self.location.unreadable(f"array {self.array.path!r}", error) from None
        for chunk, buffer in zip(chunks, buffers, strict=True):
            if buffer is None or len(buffer) == 0:
                name = self._name(chunk, "chunk")
                raise CorruptionError(f"{self.location}: {name} is missing or empty; {WAY_OUT}")
        return [buffer.to_bytes() for buffer in buffers if buffer is not None]
