"""Chunks of an array as their bytes on disk: fetched many at once, and decoded when their turn comes.

A shuffle buffer that holds them takes less memory than decoded images, and one request of many chunks waits
once where many requests of one wait each. It knows arrays, shards and chunks, and not what they mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from fstore.chunks import CheckedArray, Chunk, fetch_together
from fstore.inventory import chunk_key
from fstore.local_shards import read_ranges
from fstore.stored_files import get_file


class EncodedArray(CheckedArray):
    """A checked array that also gives its chunks undecoded. What a chunk is: the inner chunk of a shard, or
    a file of its own where the array has no shards.
    """

    def fetch(self, chunks: Sequence[Chunk]) -> list[bytes]:
        """The bytes of ``chunks``, in their order; nothing of them is checked but that they are there.

        Raises CorruptionError where one is absent, UnreadableError where the system refuses to read it.
        """
        if not self.is_local:
            return fetch_together([(self, chunks)])[0]
        return [self._file(chunk) for chunk in chunks] if self._root is None else self._fetch_here(chunks)

    def _file(self, chunk: Chunk) -> bytes:
        """A file of an array without shards on a local disk."""
        content = get_file(
            self.array, self.location, chunk_key(self.array, chunk), self._name(chunk, "chunk")
        )
        if not content:
            raise self._absent(chunk, "chunk")
        return content

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
