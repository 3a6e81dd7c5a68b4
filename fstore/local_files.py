"""Files of this machine that must outlive a power cut: forced to the disk, then their names in the folder.

It knows files and folders. It does not know what is in them.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from uuid import uuid4

from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

DECISIVE = ("zarr.json", "committed/")  # ends and beginnings of keys


class DurableStore(LocalStore):
    """Zarr's local store, whose metadata and markers are on the disk when they are set.

    They take the place of older ones that count, so that no state in between may be left: the new bytes are
    forced to the disk before the name is theirs. All other files count for nothing until a marker says so,
    and their writer forces them together.
    """

    async def set(self, key: str, value: Buffer) -> None:
        """As the local store does it."""
        if not key.endswith(DECISIVE[0]) and not key.startswith(DECISIVE[1]):
            await super().set(key, value)
            return
        self._check_writable()
        await asyncio.to_thread(replace_durably, self.root / key, value.to_bytes())


def replace_durably(path: Path, content: bytes) -> None:
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
    """fsync a file's bytes, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
