"""Counts the processor cores that a run may use."""

from __future__ import annotations

import os


def num_cores() -> int:
    """Cores that this process may use: a batch system gives a job a part of the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
