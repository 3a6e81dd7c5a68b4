"""The processes that a pool works with, as it sees them: they stand at a scheduler, and may come and go.

It knows processes and the scheduler's library; it hands out no task.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

CONNECT_SECONDS = 15
END_SECONDS = 5


class Crew(Protocol):
    """What a pool needs of its workers."""

    client: Any
    """A `distributed.Client`."""
    num_expected: int
    """Workers that will come by themselves."""
    wait_seconds: float
    """How long the run waits for a worker where none is there."""
    keeps_processes: bool
    """Whether the processes go on after the run, for others."""

    def tend(self, processes: set[int]) -> None:
        """Replace processes that have ended. ``processes``: ids of those that take part in the run. Raises
        RunError where they cannot be started.
        """


@contextmanager
def quiet_library() -> Iterator[None]:
    """A block in which the scheduler's library prints nothing: what matters reaches the user as one line."""
    import distributed  # noqa: F401  # it sets its loggers up when it is imported

    loggers = [logging.getLogger(name) for name in ("distributed", "tornado", "asyncio")]
    before = [(logger.level, logger.disabled) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"distributed(\..*)?")
            yield
    finally:
        for logger, (level, disabled) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.disabled = disabled
