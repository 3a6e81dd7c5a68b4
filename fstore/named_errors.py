"""Errors of a disk that name the file: Python's do not where a write or a sync fails, and not an open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zarr.core.buffer import Buffer
from zarr.storage import LocalStore


@contextmanager
def errors_named(path: Path) -> Iterator[None]:
    """A block whose OSErrors name ``path``, where they name no file of their own."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


class NamingStore(LocalStore):
    """Zarr's store in a folder. A class of its own, because that one does not name the file that it could not
    write, as on a full disk.
    """

    async def set(self, key: str, value: Buffer) -> None:
        """Write one file whole."""
        with errors_named(self.root / key):
            await super().set(key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write one file whole where there is none."""
        with errors_named(self.root / key):
            await super().set_if_not_exists(key, value)

    def set_sync(self, key: str, value: Buffer) -> None:
        """The same as ``set``, which newer zarrs call from their own threads."""
        with errors_named(self.root / key):
            super().set_sync(key, value)
