"""Counts the processor cores that a run may use. Imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.machine.control_groups import ControlGroup, control_groups


def num_cores(root: Path = Path("/")) -> int:
    """Cores that this process may use: a batch system gives a job a part of the machine, and a container has
    a quota of time, of which a part of a core counts as one.

    ``root``: the folder with ``proc`` and ``sys``.
    """
    return min([bound_cores(), *_quotas(root)])


def bound_cores() -> int:
    """Cores that this process may run on, whatever time it may take there."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[int]:
    """Of this process's control group and of all above it, in cores, rounded up."""
    for group in control_groups("cpu", root):
        try:
            quota, period = _quota(group)
        except (OSError, ValueError):  # no such group, or "max": no limit
            continue
        if quota > 0 and period > 0:  # -1 is no limit
            yield -(-quota // period)


def _quota(group: ControlGroup) -> tuple[int, int]:
    """Microseconds of all cores together, in how many microseconds."""
    if group.is_version_1:
        quota, period = ((group.folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
    else:
        quota, period = (group.folder / "cpu.max").read_text().split()
    return int(quota), int(period)
