"""Files of this machine: errors that name them, and writes that outlive a power cut.

It knows files and folders. It does not know what is in them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

METADATA, MARKERS = "zarr.json", "committed/"  # the end, and the beginning, of keys


@contextmanager
def errors_named(path: Path) -> Iterator[None]:
    """A block whose OSErrors name ``path``, where they name no file of their own: Python's do not where a
    write or a sync fails, and not an open. The current folder, which has no name, is named from the root.
    """
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path if path.name else path.absolute())
        raise


class FolderStore(LocalStore):
    """Zarr's store in a folder, for writing. A class of its own, because that one neither names the file that
    it could not write, as on a full disk, nor forces one to the disk.

    Metadata, markers, and every file that takes the place of another, are on the disk when they are set. What
    they replace counts, so that no state in between may be left: the new bytes are forced to the disk before
    the name is theirs. The last task of a dataset that is lengthened is such a file: it holds images that are
    committed. All other files count for nothing until a marker says so, and their writer forces them
    together.
    """

    async def set(self, key: str, value: Buffer) -> None:
        """Write one file whole."""
        with errors_named(self.root / key):
            if self._counts(key):
                self._check_writable()
                await asyncio.to_thread(replace_durably, self.root / key, value.as_numpy_array().data)
            else:
                await super().set(key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write one file whole where there is none."""
        with errors_named(self.root / key):
            await super().set_if_not_exists(key, value)
            if _is_decisive(key):
                force_to_disk(self.root / key)
                force_to_disk((self.root / key).parent)

    def _counts(self, key: str) -> bool:
        """Whether a file counts as soon as it has its name."""
        return _is_decisive(key) or (self.root / key).exists()

    def set_sync(self, key: str, value: Buffer) -> None:
        """The same as ``set``, which newer zarrs call from their own threads."""
        with errors_named(self.root / key):
            if self._counts(key):
                self._check_writable()
                replace_durably(self.root / key, value.as_numpy_array().data)
            else:
                super().set_sync(key, value)


def _is_decisive(key: str) -> bool:
    return key.endswith(METADATA) or key.startswith(MARKERS)


def replace_durably(path: Path, content: bytes | memoryview) -> None:
    """Write a file, or another in its place, so that a power cut leaves the old one or the new one, whole.

    The folder of the file is made where it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{uuid4().hex}.partial")  # as zarr's local store names them
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    force_to_disk(path.parent)


def force_to_disk(path: Path) -> None:
    """fsync a file's bytes, or the names in a folder. Raises OSError, which names it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with errors_named(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
