"""GPUs without a GPU: what dask-cuda is asked for, and what a worker of a GPU declares and sees."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support import stub_stage

from pipeline.cluster import cuda, local, opening
from pipeline.cluster.choice import ClusterChoice
from pipeline.cluster.crew import quiet_library
from pipeline.cluster.opening import open_pool


def thread_workers(asked: dict[str, Any], **settings: Any) -> Any:
    """Stands for dask-cuda's cluster: it keeps what it was asked for, and its workers are threads."""
    from distributed import LocalCluster

    asked.update(settings)
    return LocalCluster(
        n_workers=settings["n_workers"],
        processes=False,
        threads_per_worker=1,
        memory_limit=0,
        dashboard_address=None,
        scheduler_kwargs=settings["scheduler_kwargs"],
        resources=settings["resources"],
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A machine with two GPUs on which dask-cuda is installed."""
    found: dict[str, Any] = {}
    stub = ModuleType("dask_cuda")
    stub.LocalCUDACluster = lambda **settings: thread_workers(found, **settings)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dask_cuda", stub)
    monkeypatch.setattr(cuda, "is_installed", lambda: True)
    monkeypatch.setattr(opening, "gpus_of", lambda workers, device: ["4", "6"][:workers])
    return found


def test_dask_cuda_starts_a_process_a_gpu_and_tasks_ask_for_one(
    asked: dict[str, Any], tmp_path: Path
) -> None:
    with open_pool(ClusterChoice(2, device="cuda"), print) as pool:
        assert pool.device == "cuda:0"  # a worker sees its own GPU first
        pool._threads = None
        wanted: list[Any] = []
        submit = pool._crew.client.submit
        pool._crew.client.submit = lambda *a, **k: wanted.append(k["resources"]) or submit(*a, **k)
        got = list(pool.run(stub_stage.begin, (str(tmp_path),), stub_stage.double, range(4)))
    assert len(got) == 4
    assert asked["CUDA_VISIBLE_DEVICES"] == "4,6" and asked["n_workers"] == 2
    assert asked["threads_per_worker"] == 1 and asked["host"] == "127.0.0.1"
    assert wanted and all(need == {"GPU": 1} for need in wanted)


def test_without_dask_cuda_each_process_sees_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert [local._environment(["4", "6"], index)["CUDA_VISIBLE_DEVICES"] for index in (0, 1)] == ["4", "6"]
    assert (
        local._environment(None, 0)["CUDA_VISIBLE_DEVICES"] == "4,6"
    )  # the CPU does the work; nothing changes


def test_the_library_is_quiet_only_inside() -> None:
    import logging

    logger = logging.getLogger("distributed")
    before = logger.level
    with quiet_library():
        assert logger.level > logging.CRITICAL
    assert logger.level == before
