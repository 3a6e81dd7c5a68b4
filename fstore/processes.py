"""Who else runs on this machine: which process holds the lock of a folder, and since when it runs.

It reads Linux's ``/proc``. Where the system does not say, nothing is known. It knows no stores.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path


def flock_holder(descriptor: int) -> int | None:
    """The process that holds the flock of an open file or folder; None where the system does not say it.

    It does not where the process runs on another machine or in another container.
    """
    wanted = os.fstat(descriptor)
    others = []
    for process, device, inode in _flocks():
        if (device, inode) == (wanted.st_dev, wanted.st_ino):
            return process
        others.append(process)
    # Some file systems, such as btrfs, name another device there than to a program.
    return next((process for process in others if _has_open(process, wanted)), None)


def _flocks() -> list[tuple[int, int, int]]:
    """Process, device and inode of each flock that is held, from lines such as
    ``1: FLOCK  ADVISORY  WRITE 4711 fe:00:2286246 0 EOF``.
    """
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return []
    found = []
    for fields in map(str.split, lines):
        if len(fields) < 6 or fields[1] != "FLOCK":
            continue
        try:
            major, minor, inode = fields[5].split(":")
            found.append((int(fields[4]), os.makedev(int(major, 16), int(minor, 16)), int(inode)))
        except ValueError:
            continue
    return [lock for lock in found if lock[0] > 0]  # 0: of a process that cannot be seen from here


def _has_open(process: int, wanted: os.stat_result) -> bool:
    try:
        with os.scandir(f"/proc/{process}/fd") as entries:
            return any(os.path.samestat(os.stat(entry), wanted) for entry in entries)
    except OSError:  # another user's, or it has just ended
        return False


def described(process: int) -> str:
    """``process 4711 on host gpu-7, started 3 minutes ago``."""
    age = _age_seconds(process)
    started = "" if age is None else f", started {spoken(age)} ago"
    return f"process {process} on host {socket.gethostname()}{started}"


def _age_seconds(process: int) -> float | None:
    try:
        ticks, uptime = int(start_of(process)), float(Path("/proc/uptime").read_text().split()[0])
        return max(0.0, uptime - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return None


def start_of(process: int) -> str:
    """When a process began, in ticks since the machine did; empty where the system does not say."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def spoken(seconds: float) -> str:
    """``3 minutes``."""
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {name}{'s' if count > 1 else ''}"
    return f"{int(seconds)} seconds"
