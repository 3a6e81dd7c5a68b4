"""Keeps the pictures that were asked for last, within a number of bytes. It does not know what they show."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock

from pipeline.reports.pictures import Encoded

CACHE_BYTES = 64 * 2**20


class PictureCache:
    """Pictures by key; the ones that were not asked for longest go first. Any thread may use it."""

    def __init__(self, capacity_bytes: int = CACHE_BYTES) -> None:
        self._capacity_bytes = capacity_bytes
        self._pictures: OrderedDict[Hashable, Encoded] = OrderedDict()
        self._lock = Lock()
        self.held_bytes = 0

    def get(self, key: Hashable, make: Callable[[], Encoded]) -> Encoded:
        """The picture of that key, made where it is not there. An error of ``make`` is raised, not kept."""
        with self._lock:
            found = self._pictures.get(key)
            if found is not None:
                self._pictures.move_to_end(key)
                return found
        made = make()  # without the lock: others may have theirs meanwhile
        with self._lock:
            self._put(key, made)
        return made

    def _put(self, key: Hashable, made: Encoded) -> None:
        if (before := self._pictures.pop(key, None)) is not None:  # two threads made it
            self.held_bytes -= len(before.content)
        self._pictures[key] = made
        self.held_bytes += len(made.content)
        while self.held_bytes > self._capacity_bytes:
            _, oldest = self._pictures.popitem(last=False)
            self.held_bytes -= len(oldest.content)
