"""Shares out host memory for training: what it takes in any case, and buffers as a budget has room for them.

Pure functions of sizes in bytes. It opens no store and asks the machine for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from fstore.display import human_bytes
from pipeline.errors import UsageError

MIB = 2**20
BUFFER_MB = 512  # MiB of the shuffle buffer, where nothing smaller is asked for
AHEAD_BYTES = 128 * MIB  # of drawn pixels that wait for the shuffle buffer
MAX_UNITS_AHEAD = 64
UNBOUNDED = 2**62
AUTO_CACHE_BYTES = 1536 * MIB  # 16 face images at 1024 px are 1.32 GB


@dataclass(frozen=True)
class Demand:
    """Host memory of a run in bytes, before anything is shared out.

    ``fixed_bytes``: imports, network, validation, masks, batches. ``unit_bytes``: the drawn pixels of one
    sampling unit. ``reading_bytes``: what a thread needs beside them while it reads a unit. The shuffle
    buffer takes ``least_buffer_bytes`` at least. It never takes more than ``epoch_bytes``, an epoch's draws.
    ``pyramid_bytes``: the maps that a cache would hold, 0 where there are none.
    """

    fixed_bytes: int
    unit_bytes: int
    reading_bytes: int
    least_buffer_bytes: int
    epoch_bytes: int
    pyramid_bytes: int

    def buffer_bytes(self, buffer_mb: int) -> int:
        """Bytes that a shuffle buffer of ``buffer_mb`` MiB really takes."""
        return min(buffer_mb * MIB, self.epoch_bytes)


@dataclass(frozen=True)
class MemoryPlan:
    """What a run may hold: ``cached`` the pyramid in host memory or not, ``host_bytes`` at most in all."""

    buffer_mb: int
    threads: int
    units_ahead: int
    cached: bool
    host_bytes: int


def share_memory(
    demand: Demand,
    *,
    budget: int | None,
    buffer_mb: int | None,
    cache_limit: int,
    threads: int,
) -> MemoryPlan:
    """Share out ``budget`` bytes (None: no cap): shuffle buffer first, then readers, then the cache.

    ``buffer_mb`` is asked for, or is that of an earlier part of the run; None leaves it to the budget.
    ``cache_limit``: bytes that a cache may take. ``threads``: readers to have if there is room. The buffer
    never shrinks as the budget grows. Raises UsageError, which names the least budget that would do.
    """
    reader = demand.reading_bytes + demand.unit_bytes  # each with a unit ahead; one more unit is in use
    least_mb = buffer_mb or -(-demand.least_buffer_bytes // MIB)
    least = demand.fixed_bytes + reader + demand.unit_bytes + demand.buffer_bytes(least_mb)
    if budget is not None and budget < least:
        why = f", {buffer_mb} MiB of it the shuffle buffer, on which the batches depend" if buffer_mb else ""
        raise UsageError(
            f"--memory-budget is {human_bytes(budget)}: this training takes at least {human_bytes(least)}"
            f"{why}; give {-(-least // 10**6)}MB or more"
        )
    spare = UNBOUNDED if budget is None else budget - least
    if buffer_mb is None:
        buffer_mb = max(least_mb, min(BUFFER_MB, least_mb + spare // MIB))
        spare -= demand.buffer_bytes(buffer_mb) - demand.buffer_bytes(least_mb)
    more_threads = min(threads - 1, spare // reader)
    spare -= more_threads * reader
    units_ahead = 1 + more_threads
    wanted = min(AHEAD_BYTES // max(demand.unit_bytes, 1), MAX_UNITS_AHEAD)
    more_units = max(0, min(wanted - units_ahead, spare // max(demand.unit_bytes, 1)))
    spare -= more_units * demand.unit_bytes
    cached = 0 < demand.pyramid_bytes <= min(cache_limit, spare)
    host_bytes = (
        demand.fixed_bytes
        + demand.buffer_bytes(buffer_mb)
        + (1 + more_threads) * demand.reading_bytes
        + (units_ahead + more_units + 1) * demand.unit_bytes
        + cached * demand.pyramid_bytes
    )
    return MemoryPlan(buffer_mb, 1 + more_threads, units_ahead + more_units, cached, host_bytes)
