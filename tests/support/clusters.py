"""Dask clusters for the tests: workers that are threads of the test's own process, which start at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from pipeline.cluster.crew import quiet_library


@contextmanager
def thread_cluster(num_workers: int = 2) -> Iterator[Any]:
    """A `distributed.LocalCluster` whose scheduler and workers are threads of this process."""
    with quiet_library():
        import dask
        from distributed import LocalCluster

        quiet = {"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}
        with dask.config.set(quiet):
            cluster = LocalCluster(
                n_workers=num_workers,
                processes=False,
                threads_per_worker=1,
                memory_limit=0,
                dashboard_address=None,
                scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
                worker_dashboard_address=None,
            )
            try:
                yield cluster
            finally:
                cluster.close()


def scripted_result(client: Any, future: Any) -> Future[Any]:
    """In place of ``handout.request_result`` where a script is the cluster: ``future.outcome``, at once."""
    request: Future[Any] = Future()
    request.set_result(future.outcome)
    return request
