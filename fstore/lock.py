"""A lock on a store's folder, so that a store has one writer. It ends with its process, also a killed one."""

from __future__ import annotations

import errno
import os
import warnings
from pathlib import Path

from fstore.errors import StoreError, StoreWarning, UnreadableError
from fstore.processes import described, flock_holder

try:
    import fcntl
except ImportError:  # Windows has no flock; there two writers are not told apart
    fcntl = None  # type: ignore[assignment]

_TAKEN = (errno.EWOULDBLOCK, errno.EACCES)
# What flock says on file systems without it. NFS answers EBADF: it wants a descriptor open for writing, which
# a folder cannot have.
_NO_LOCKS = (errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


class FolderLock:
    """A lock that is held until ``release``, garbage collection or the end of the process. It leaves no file.

    Raises StoreError when another process (or another writer of this one) holds it, UnreadableError when the
    folder cannot be opened. Where the file system has no locks it issues a StoreWarning, and other writers
    are not kept out.
    """

    def __init__(self, folder: Path) -> None:
        self._descriptor: int | None = None
        if fcntl is None:
            _warn(folder, "this system has no flock")
            return
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except OSError as error:
            raise UnreadableError(f"{folder}: cannot be opened to be locked ({error.strerror})") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = flock_holder(descriptor) if error.errno in _TAKEN else None
            os.close(descriptor)
            if error.errno in _TAKEN:
                raise _refusal(folder, holder) from None
            if error.errno not in _NO_LOCKS:
                raise UnreadableError(f"{folder}: cannot be locked ({error.strerror})") from None
            _warn(folder, str(error.strerror))
            return
        self._descriptor = descriptor

    def release(self) -> None:
        """Let others write. Calling it again does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.release()


def _refusal(folder: Path, holder: int | None) -> StoreError:
    """What is said of a folder that another writer has locked, and who that is."""
    if holder == os.getpid():
        return StoreError(f"{folder}: another writer has it open, in this process; close that writer")
    who = "a process that cannot be seen from here" if holder is None else described(holder)
    return StoreError(
        f"{folder}: another writer has it open, {who}; wait for it, or end it: the lock ends with its process"
    )


def _warn(folder: Path, reason: str) -> None:
    """Python shows one warning of the same text once."""
    warnings.warn(
        f"{folder}: its file system cannot be locked ({reason}), so two writers are not told apart; "
        "let only one process write there at a time",
        StoreWarning,
        stacklevel=3,
    )
