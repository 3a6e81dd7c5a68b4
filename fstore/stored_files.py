"""Gets the files of an array's store as bytes: from a folder without zarr, from a URL many at once.

It knows keys and ranges of bytes. It does not know what is in them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zarr
from zarr.abc.store import ByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import LocalStore

from fstore.errors import StoreError
from fstore.local_shards import read_file
from fstore.location import Location

WAY_OUT = "the store is corrupt: run `dgan repair`, then the command that wrote it; or restore it from a copy"
REQUESTS_AT_ONCE = 64  # of a store at a URL
SMALLEST_GAP = 2**16  # bytes; of two pieces that are nearer to each other what lies between is read too


@dataclass(frozen=True)
class Span:
    """Bytes [start, stop) of a file, which hold the pieces ``members``."""

    start: int
    stop: int
    members: tuple[int, ...]


def spans_of(places: Sequence[tuple[int, int]]) -> list[Span]:
    """Ranges of a file that hold every piece (offset, number of bytes), as few as gaps of 64 KiB allow."""
    spans: list[Span] = []
    for member in sorted(range(len(places)), key=places.__getitem__):
        offset, num_bytes = places[member]
        last = spans[-1] if spans else None
        if last is not None and offset - last.stop < SMALLEST_GAP:
            spans[-1] = Span(last.start, max(last.stop, offset + num_bytes), (*last.members, member))
        else:
            spans.append(Span(offset, offset + num_bytes, (member,)))
    return spans


def get_file(
    array: zarr.Array[Any], location: Location, key: str, what: str, suffix: int | None = None
) -> bytes | None:
    """A file of the array's store, or its last ``suffix`` bytes; None where it is not there. Raises
    UnreadableError for any other reason.
    """
    try:
        if suffix is None and isinstance(array.store, LocalStore):
            return read_file(Path(array.store.root) / key)
    except OSError as error:
        raise location.unreadable(what, error) from None
    part = None if suffix is None else SuffixByteRequest(suffix)
    return sync(FileGetter(array, location).get(key, what, part))


class FileGetter:
    """Gets files of one array's store, by the event loop of zarr. The requests of several getters that share
    a ``gate`` are together at most 64 at once.
    """

    def __init__(
        self, array: zarr.Array[Any], location: Location, gate: asyncio.Semaphore | None = None
    ) -> None:
        self._store, self._location = array.store, location
        self._gate = gate or asyncio.Semaphore(REQUESTS_AT_ONCE)

    async def get(self, key: str, what: str, part: ByteRequest | None = None) -> bytes | None:
        """A file, or a part of it; None where it is not there. Raises UnreadableError naming ``what``."""
        try:
            async with self._gate:
                buffer = await self._store.get(key, default_buffer_prototype(), part)
        except (StoreError, MemoryError):
            raise
        except Exception as error:
            raise self._location.unreadable(what, error) from None
        return None if buffer is None else buffer.to_bytes()

    async def get_pieces(self, key: str, what: str, places: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes at each (offset, number of bytes) of a file, fewer where it ends before."""
        spans = spans_of(places)
        found = await asyncio.gather(
            *(self.get(key, what, RangeByteRequest(span.start, span.stop)) for span in spans)
        )
        pieces = [b""] * len(places)
        for span, content in zip(spans, found, strict=True):
            for member in span.members:
                offset, num_bytes = places[member]
                first = offset - span.start
                pieces[member] = (content or b"")[first : first + num_bytes]
        return pieces
