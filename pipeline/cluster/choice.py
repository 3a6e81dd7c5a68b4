"""Which workers a run asks for, decided before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from pipeline.errors import UsageError

NEEDED = ("distributed", "cryptography")


@dataclass(frozen=True)
class ClusterChoice:
    """``workers`` processes of this machine, or the workers of the dask cluster ``scheduler``: an address, or
    the path of a scheduler file. One of them is None. ``threads``, ``device``: what the flags of these names
    say, of each worker. ``uses_torch``: whether the tasks do; a worker whose tasks do not need not import it.
    """

    workers: int | None = None
    scheduler: str | None = None
    threads: int | None = None
    device: str = "auto"
    uses_torch: bool = True

    def words(self) -> str:
        """Who does the work, in a few words."""
        if self.workers is None:
            return f"the workers of {self.scheduler}"
        return "1 worker process" if self.workers == 1 else f"{self.workers} worker processes"


def choose_cluster(
    workers: int | None,
    scheduler: str | None,
    *,
    threads: int | None = None,
    device: str = "auto",
    uses_torch: bool = True,
    find: Callable[[str], object] = find_spec,
) -> ClusterChoice | None:
    """What ``--workers`` and ``--scheduler`` ask for; None: this process does all by itself.

    Raises UsageError where both are given, or a package that is needed is not installed.
    """
    if workers is None and scheduler is None:
        return None
    if workers is not None and scheduler is not None:
        raise UsageError(
            f"--workers {workers} starts processes on this machine and --scheduler {scheduler} uses those of "
            "a cluster; leave one of them out"
        )
    missing = [name for name in NEEDED if find(name) is None]
    if missing:
        flag = "--workers" if scheduler is None else "--scheduler"
        raise UsageError(f"{flag} needs the package {missing[0]}; run pip install 'dgan[cluster]'")
    return ClusterChoice(workers, scheduler, threads, device, uses_torch)
