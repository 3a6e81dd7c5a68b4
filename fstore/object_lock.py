"""The writer's lock on object storage: a small object that only one writer can make.

A killed run leaves it. The next run on the same machine sees that its process is gone and takes it over;
anyone else is told whose it is, and may break it. It knows owners and ages, and not what is written.
"""

from __future__ import annotations

import json
import os
import socket
import weakref
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from fstore.errors import StoreError
from fstore.location import LOCK, Location
from fstore.objects import Bucket, Stored
from fstore.processes import spoken, start_of

_ATTEMPTS = 3  # to take over a lock that others take over at the same time
_held: set[str] = set()  # owners of the locks that this process holds


class NoLocksError(Exception):
    """The storage knows no conditional put."""


@dataclass(frozen=True)
class Owner:
    """Who holds a lock. ``process`` is a number on the ``host``; ``started``, ``boot`` and ``namespace`` tell
    a process from a later one of the same number. ``broken``: somebody has broken the lock.
    """

    owner: str
    host: str
    process: int
    started: str
    boot: str
    namespace: str
    time: str
    broken: bool = False

    @property
    def is_gone(self) -> bool | None:
        """Whether the process has ended; None where that cannot be told from here."""
        if self.broken:
            return True
        here = _this_process("")
        if self.owner in _held:
            return False
        if (self.host, self.boot, self.namespace) != (
            here.host,
            here.boot,
            here.namespace,
        ) or os.name != "posix":
            return None
        if self.process == here.process:
            return True  # this process does not hold it: it let go without a word, or has a dead one's number
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return start_of(self.process) != self.started

    @property
    def age_seconds(self) -> float | None:
        """Since the lock was made, by the clocks of both machines; None where the record has no time."""
        try:
            return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(self.time)).total_seconds())
        except (ValueError, TypeError):
            return None

    def __str__(self) -> str:
        age = self.age_seconds
        since = "" if age is None else f", since {spoken(age)}"
        return f"process {self.process} on host {self.host or 'unknown'}{since}"


class ObjectLock:
    """A lock that is held until ``release`` or the orderly end of the process.

    Raises StoreError where another writer holds it; RequestError where the storage refuses; NoLocksError
    where it has no conditional put.
    """

    def __init__(self, location: Location) -> None:
        self._owner = _this_process(uuid4().hex)
        self._bucket = Bucket(location.target)
        _take(location, self._bucket, self._owner)
        _held.add(self._owner.owner)
        # Called at the latest when Python ends. It asks obstore, not zarr, whose loop may be what ends.
        self._release = weakref.finalize(self, _let_go, self._bucket, self._owner.owner, os.getpid())

    def release(self) -> None:
        """Let others write. Calling it again does nothing. Only the owner's own lock is removed."""
        self._release()


def check_unlocked(location: Location) -> None:
    """Raise what ``ObjectLock`` would raise for the lock that is there; nothing is written."""
    found = Bucket(location.target).get(LOCK)
    if found is not None and not _read(found).is_gone:
        raise _refusal(location, _read(found))


def break_lock(location: Location) -> str | None:
    """Break the lock at a URL. Returns a line that says whose it was, None where there is none.

    Raises StoreError where its process still runs on this host.
    """
    bucket = Bucket(location.target)
    found = bucket.get(LOCK)
    if found is None:
        return None
    owner = _read(found)
    if owner.is_gone is False:
        raise StoreError(
            f"{location}: its writer still runs, {owner}; end it, which is better than --break-lock"
        )
    broken = json.dumps({**asdict(owner), "broken": True}).encode()
    if not bucket.put_once(LOCK, broken, found.version):
        raise StoreError(f"{location}: its lock changed while it was being broken; run this again")
    return f"{location}: broke the lock of {owner}"


def _take(location: Location, bucket: Bucket, owner: Owner) -> None:
    content = json.dumps(asdict(owner)).encode()
    for _ in range(_ATTEMPTS):
        if _put(bucket, content):
            # Storage that does not know the condition may take no notice of it: then this goes through too.
            if _put(bucket, content):
                bucket.delete([LOCK])
                raise NoLocksError
            return
        found = bucket.get(LOCK)
        if found is None:  # just released
            continue
        other = _read(found)
        if other.owner == owner.owner:  # an answer was lost, and the request was sent again
            return
        if not other.is_gone:
            raise _refusal(location, other)
        if bucket.put_once(LOCK, content, found.version):
            return
    raise StoreError(f"{location}: several writers want its lock at once; run this again")


def _put(bucket: Bucket, content: bytes) -> bool:
    try:
        return bucket.put_once(LOCK, content)
    except StoreError:
        raise
    except Exception as error:  # of obstore: the request is not known there
        raise NoLocksError from error


def _let_go(bucket: Bucket, owner: str, process: int) -> None:
    if os.getpid() != process:  # a forked child holds no lock
        return
    _held.discard(owner)
    try:
        found = bucket.get(LOCK)
        if found is not None and _read(found).owner == owner:
            bucket.delete([LOCK])
    except (StoreError, RuntimeError):  # the network is down: the next run on this host takes it over
        return


def _refusal(location: Location, owner: Owner) -> StoreError:
    if owner.owner in _held:
        return StoreError(f"{location}: another writer of this process has it open; close that writer")
    way_out = "wait for it, or pass --break-lock where it is gone for good"
    return StoreError(f"{location}: another writer has it open, {owner}; {way_out}")


def _read(found: Stored) -> Owner:
    """The owner that a lock names. What is damaged names none, and its age is the object's."""
    written = found.written.isoformat()
    try:
        record = json.loads(found.content)
        texts = {
            name: str(record[name])[:200]
            for name in ("owner", "host", "started", "boot", "namespace", "time")
        }
        return Owner(process=int(record["process"]), broken=record.get("broken") is True, **texts)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Owner("", "", 0, "", "unknown", "", written)


def _this_process(owner: str) -> Owner:
    number = os.getpid()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Owner(owner, socket.gethostname(), number, start_of(number), _boot(), _namespace(), now)


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _namespace() -> str:
    """Where the process's number holds: two containers of one name have two."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
