"""The program of a worker process that ``--workers`` starts: ``python -m pipeline.cluster.local_worker``.

What it needs comes through standard input. When that ends, so does the process, whatever it is doing: its
client has ended, even if by ``kill -9``. The client alone hears Ctrl-C.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class LocalWorker:
    """What a worker process is told: where the scheduler is, how to prove who it is, and what it has."""

    scheduler: str
    security: Any
    name: str
    folder: str
    """Of the scheduler's library, for temporary files; its client deletes it."""
    resources: dict[str, float] = field(default_factory=dict)


def _end_with_client() -> None:
    os.read(0, 1)  # nothing comes any more: it returns when the pipe is closed
    os._exit(0)


async def _serve(told: LocalWorker) -> None:
    import dask
    from distributed import Worker

    import pipeline.cluster.worker  # noqa: F401  # sets what torch reads

    # No pages about the worker are served. Memory is not limited here: the stages keep to --memory-budget,
    # and the library's limit would pause or kill a worker whose memory torch's allocator holds. Nobody asks
    # for its profile, for which it looks at the stacks a hundred times a second and keeps the source text of
    # what it finds there.
    without = {"distributed.worker.http.routes": [], "distributed.worker.profile.enabled": False}
    with dask.config.set(without):
        worker = Worker(
            told.scheduler,
            name=told.name,
            nthreads=1,
            host="127.0.0.1",
            memory_limit=0,
            security=told.security,
            local_directory=told.folder,
            resources=told.resources,
            dashboard=False,
            dashboard_address="127.0.0.1:0",
            death_timeout=60,
        )
        async with worker:
            await worker.finished()


def main() -> None:
    """Work until the client ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    size = int.from_bytes(_read(8), "little")
    told = pickle.loads(_read(size))
    threading.Thread(target=_end_with_client, daemon=True).start()
    import asyncio

    asyncio.run(_serve(told))


def _read(num_bytes: int) -> bytes:
    """So many bytes of standard input, and no more: what follows tells that the client has ended."""
    content = b""
    while len(content) < num_bytes:
        part = os.read(0, num_bytes - len(content))
        if not part:
            sys.exit(0)
        content += part
    return content


if __name__ == "__main__":
    main()
