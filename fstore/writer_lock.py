"""Keeps a store to one writer, wherever it lies: by flock on a folder, by a conditional put at a cloud.

It chooses among the two, and says where neither works.
"""

from __future__ import annotations

import warnings

from fstore import object_lock
from fstore.clouds import is_cloud
from fstore.errors import StoreWarning
from fstore.location import Location
from fstore.lock import FolderLock
from fstore.object_lock import NoLocksError, ObjectLock

WriterLock = FolderLock | ObjectLock


def lock_place(location: Location) -> WriterLock | None:
    """Lock a store for writing; a folder must be there. None where there are no locks, with a StoreWarning.

    Raises StoreError where another writer has it open.
    """
    if location.folder is not None:
        return FolderLock(location.folder)
    if location.is_volatile:  # no other process sees it
        return None
    reason = "its protocol has no conditional put"
    if is_cloud(location.target):
        try:
            return ObjectLock(location)
        except NoLocksError:
            reason = "it knows no conditional put"
    warnings.warn(
        f"{location}: this storage cannot be locked ({reason}), so two writers are not told apart; let only "
        "one process write there at a time",
        StoreWarning,
        stacklevel=3,
    )
    return None


def check_unlocked(location: Location) -> None:
    """Raise what ``lock_place`` would raise for who has it open now; nothing is written."""
    if location.folder is not None:
        if location.folder.exists():
            FolderLock(location.folder).release()
    elif is_cloud(location.target):
        object_lock.check_unlocked(location)


def break_lock(location: Location) -> None:
    """Break the lock that a killed writer left, and say whose it was by a StoreWarning.

    A folder has none to break: its lock ends with the process. Raises StoreError where the writer still runs
    on this host.
    """
    if is_cloud(location.target) and (line := object_lock.break_lock(location)) is not None:
        warnings.warn(line, StoreWarning, stacklevel=3)
