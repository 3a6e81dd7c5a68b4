"""Worker processes of this machine with a GPU each, by dask-cuda, where that is installed.

It places a worker on the cores that are next to its GPU. Without it `pipeline.cluster.local` starts workers
with a GPU each all the same.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from pipeline.cluster.crew import END_SECONDS, quiet_library


@dataclass
class CudaCrew:
    """Processes that dask-cuda starts, and starts anew."""

    client: Any
    num_expected: int
    wait_seconds: float = 600
    keeps_processes: bool = False

    def tend(self, processes: set[int]) -> None:
        """Nothing: the library's nannies do."""


def is_installed() -> bool:
    """Whether dask-cuda is there."""
    return find_spec("dask_cuda") is not None


@contextmanager
def cuda_crew(gpus: list[str]) -> Iterator[CudaCrew]:
    """Start a worker for each of the ``gpus``, which are named as in CUDA_VISIBLE_DEVICES."""
    with ExitStack() as stack:
        stack.enter_context(quiet_library())
        import dask
        from dask_cuda import LocalCUDACluster
        from distributed import Client
        from distributed.security import Security

        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="dgan-", ignore_cleanup_errors=True))
        routes: dict[str, list[str]] = {
            "distributed.scheduler.http.routes": [],
            "distributed.worker.http.routes": [],
        }
        with dask.config.set(routes):
            cluster = LocalCUDACluster(
                CUDA_VISIBLE_DEVICES=",".join(gpus),
                n_workers=len(gpus),
                threads_per_worker=1,
                memory_limit=0,  # see `pipeline.cluster.local_worker`
                local_directory=folder,
                protocol="tls",
                security=Security.temporary(),
                host="127.0.0.1",
                dashboard_address=None,
                scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
                resources={"GPU": 1},
                preload=["pipeline.cluster.deaf_to_interrupts"],
                silence_logs=logging.CRITICAL,
            )
        stack.callback(cluster.close, timeout=END_SECONDS)
        client = Client(cluster, set_as_default=False, name="dgan")
        stack.callback(client.close, timeout=END_SECONDS)
        yield CudaCrew(client, len(gpus))
