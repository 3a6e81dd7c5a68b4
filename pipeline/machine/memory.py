"""Measures the memory that this process has taken and can still get, and returns what it no longer needs.

It asks the operating system. It knows nothing of what the memory is for.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

from pipeline.machine.control_groups import control_groups

_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def peak_host_bytes() -> int:
    """The largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, kilobytes on Linux


def return_freed_memory() -> None:
    """Have glibc give the free pages of its heaps back to the system; does nothing elsewhere.

    Freed blocks of up to 32 MiB stay with the thread that freed them, apart and in pieces. Without this, the
    maps and shards of one image after another left more and more holes, and the peak grew with their number.
    Once an image it costs nothing to speak of; never keeping such blocks (``M_MMAP_THRESHOLD``) took 40%
    longer.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def available_host_bytes(root: Path = Path("/")) -> int:
    """Bytes that this process can still get: what the machine has left, or the least that a limit leaves.

    A container or a job of a batch system limits its control group, and groups above it may be limited too.
    All of the machine's memory is returned where the machine does not say. ``root``: the folder with ``proc``
    and ``sys``.
    """
    return max(0, min(_machine_bytes(root), *_group_bytes(root)))


def _machine_bytes(root: Path) -> int:
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _group_bytes(root: Path) -> Iterator[int]:
    """What each limit leaves, of this process's control group and of all above it; at least one value.

    Pages of files that were read once do not count as used, because the kernel takes them back first.
    """
    yield sys.maxsize
    for group in control_groups("memory", root):
        limit, usage, cache = _V1 if group.is_version_1 else _V2
        try:
            left = int((group.folder / limit).read_text()) - int((group.folder / usage).read_text())
            stat = (line.split() for line in (group.folder / "memory.stat").read_text().splitlines())
            yield left + next((int(value) for name, value in stat if name == cache), 0)
        except (OSError, ValueError):  # no such group, or "max": no limit
            continue
