"""One writer a store: a lock on the store's folder that ends with its process, even with one that is
killed.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from fstore.errors import StoreError

try:
    import fcntl
except ImportError:  # Windows has no flock; there two writers are not told apart
    fcntl = None  # type: ignore[assignment]


class FolderLock:
    """Held from creation until ``release``, garbage collection or the end of the process. It leaves no file.

    Raises StoreError when another process (or another writer of this one) holds it.
    """

    def __init__(self, folder: Path) -> None:
        self._descriptor: int | None = None
        if fcntl is None:
            return
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise StoreError(
                    f"{folder}: another writer has it open; wait for that process, or close the writer"
                ) from None
            return  # a file system without locks, such as some network mounts
        self._descriptor = descriptor

    def release(self) -> None:
        """Let others write. Calling it again does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.release()
