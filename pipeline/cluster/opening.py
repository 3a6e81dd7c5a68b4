"""Opens the pool that a run asked for: which processes there are, with how many threads, on which device."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from pipeline.cluster import cuda
from pipeline.cluster.choice import ClusterChoice
from pipeline.cluster.crew import Crew
from pipeline.cluster.existing import existing_crew
from pipeline.cluster.local import local_crew
from pipeline.cluster.pool import Pool, pool_of
from pipeline.cluster.worker import look_for_gpu
from pipeline.errors import RunError, UsageError, count
from pipeline.machine.cores import num_cores

LOOK_SECONDS = 0.5


@contextmanager
def open_pool(choice: ClusterChoice, say: Callable[[str], None]) -> Iterator[Pool]:
    """The workers that ``choice`` asks for, until the block ends.

    A worker of this machine has its share of the cores as threads where no number is given, one of a cluster
    torch's own number. Raises UsageError, and RunError where no worker comes.
    """
    threads, device = choice.threads, choice.device
    if not choice.uses_torch:
        threads, device = None, "cpu"
    if choice.workers is None:
        assert choice.scheduler is not None
        with existing_crew(choice.scheduler) as cluster:
            device = _device_of_cluster(cluster, say) if device == "auto" else device
            with pool_of(cluster, threads, device, say) as pool:
                yield pool
        return
    gpus = gpus_of(choice.workers, device)
    if threads is None and choice.uses_torch:
        threads = max(1, num_cores() // choice.workers)
    with _crew_here(choice.workers, gpus) as crew, pool_of(crew, threads, _own_device(gpus), say) as pool:
        yield pool


def _crew_here(workers: int, gpus: list[str] | None) -> AbstractContextManager[Crew]:
    """Processes of this machine."""
    if gpus is not None and cuda.is_installed():
        return cuda.cuda_crew(gpus)
    return local_crew(workers, gpus)


def _own_device(gpus: list[str] | None) -> str:
    """A worker of this machine sees one GPU, its own."""
    return "cpu" if gpus is None else "cuda:0"


def _device_of_cluster(crew: Crew, say: Callable[[str], None]) -> str:
    """``cuda`` where a worker sees a GPU: then all must, because a GPU's numbers are others than a CPU's.

    It waits for the first worker. Raises RunError where none comes.
    """
    end = time.monotonic() + crew.wait_seconds
    if not crew.client.nthreads():
        say(f"waiting for workers, at most {crew.wait_seconds:.0f} seconds")
    while not crew.client.nthreads():
        if time.monotonic() > end:
            raise RunError(
                f"no worker came in {crew.wait_seconds:.0f} seconds; start workers of this scheduler"
            )
        time.sleep(LOOK_SECONDS)
    found = crew.client.run(look_for_gpu, on_error="return")
    return "cuda" if any(answer is True for answer in found.values()) else "cpu"


def gpus_of(workers: int, device: str) -> list[str] | None:
    """For each worker what CUDA_VISIBLE_DEVICES says, one GPU each; None where the run uses none.

    Raises UsageError where there are fewer GPUs than workers, or ``device`` names one of them.
    """
    if device == "cpu":
        return None
    import torch

    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto" and not found:
        return None
    if device.startswith("cuda:"):
        raise UsageError(
            f"--device is {device}, one GPU, and --workers is {workers}: each worker has a GPU of its own; "
            "pass --device cuda, and choose GPUs with CUDA_VISIBLE_DEVICES"
        )
    if workers > found:
        raise UsageError(
            f"--workers is {workers}, torch sees {count(found, 'GPU')} and each worker has one of its own; "
            f"pass --workers {max(found, 1)}, or --device cpu"
        )
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return (named or [str(index) for index in range(found)])[:workers]
