"""The workers of a dask cluster that somebody else starts and ends, such as dask-jobqueue's on SLURM."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.cluster.crew import CONNECT_SECONDS, END_SECONDS, quiet_library
from pipeline.errors import UsageError


@dataclass
class ExistingCrew:
    """The workers of a cluster that somebody else starts and ends."""

    client: Any
    num_expected: int = 0
    wait_seconds: float = 60
    keeps_processes: bool = True

    def tend(self, processes: set[int]) -> None:
        """Nothing: the cluster does."""


@contextmanager
def existing_crew(scheduler: str) -> Iterator[ExistingCrew]:
    """Connect to a scheduler by its address or its scheduler file. Raises UsageError where none answers."""
    with quiet_library():
        from distributed import Client

        where = {"address": scheduler}
        if "://" not in scheduler:
            path = Path(scheduler).absolute()
            if not path.is_file():
                raise UsageError(
                    f"--scheduler is {scheduler}: no such scheduler file; expected one, or an address such "
                    "as tcp://host:8786"
                )
            where = {"scheduler_file": str(path)}
        try:
            client = Client(**where, timeout=CONNECT_SECONDS, set_as_default=False, name="dgan")
        except Exception as error:  # of many classes, by protocol and by what the file holds
            raise UsageError(
                f"--scheduler is {scheduler}: no scheduler answers there within {CONNECT_SECONDS} seconds "
                f"({_first_line(error)}); is it running, and can this machine reach it?"
            ) from error
        try:
            yield ExistingCrew(client)
        finally:
            client.close(timeout=END_SECONDS)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
