"""Watches this process: which files it opens, and how much memory it takes."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.places import REPOSITORY

HEADROOM_BYTES = 2**30  # beside what the process has already
ALLOWED = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/share/", sys.prefix, sys.base_prefix, str(REPOSITORY))
_watched: list[tuple[str, list[str]]] = []


def _heard(event: str, arguments: tuple[object, ...]) -> None:
    if not _watched or event != "open" or not isinstance(arguments[0], (str, bytes, os.PathLike)):
        return
    path, (folder, outside) = os.path.abspath(os.fsdecode(arguments[0])), _watched[-1]
    writes = bool(int(arguments[2]) & (os.O_WRONLY | os.O_RDWR))  # type: ignore[call-overload]
    if f"{os.sep}__pycache__{os.sep}" in path:
        writes = False  # a module that the block is the first to import leaves its compiled code
    is_inside = path == folder or path.startswith(folder + os.sep)
    if not is_inside and path != os.devnull and (writes or not path.startswith(ALLOWED)):
        outside.append(path)


sys.addaudithook(_heard)


@contextmanager
def confined(folder: Path) -> Iterator[None]:
    """A block that may open no file outside ``folder``, beside those of the program, and may take a gibibyte
    of memory.
    """
    _watched.append((os.path.abspath(folder), []))
    try:
        with limited_memory():
            yield
    finally:
        _, outside = _watched.pop()
    assert not outside, outside


@contextmanager
def limited_memory() -> Iterator[None]:
    """A block in which a larger request for memory is a MemoryError."""
    if not sys.platform.startswith("linux"):
        yield
        return
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + HEADROOM_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
