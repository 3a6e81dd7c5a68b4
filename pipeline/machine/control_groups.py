"""Finds the control groups of this process: how Linux limits a container, or a job of a batch system.

Groups lie in each other, and each may have a limit of its own. It knows where their files are, and not what
these say. Imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class ControlGroup:
    """A folder of files that limit a group, of version 1 or 2 of their kind."""

    folder: Path
    is_version_1: bool


def control_groups(controller: str, root: Path = Path("/")) -> Iterator[ControlGroup]:
    """The groups that this process is in for a ``controller`` (``cpu``, ``memory``), each before the one
    above it. Of some the folder is not there. None where the system has no such groups.

    ``root``: the folder with ``proc`` and ``sys``.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    mount = root / "sys/fs/cgroup"
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        inner = PurePosixPath(path.lstrip("/"))
        # Inside a container only the mount itself may be there, and it is then the container's own group.
        for group in (inner, *inner.parents):
            if controllers == "":
                yield ControlGroup(mount / group, is_version_1=False)
            elif controller in controllers.split(","):
                yield ControlGroup(mount / controller / group, is_version_1=True)
