"""The environment variables that torch reads when it is imported. Imports nothing heavy."""

from __future__ import annotations

import os

from pipeline.machine.cores import bound_cores, num_cores

VARIABLES = {
    # With OpenMP's default, threads that wait for one another burn the cores that the sampler's and the
    # writer's threads need; on a machine with other work 300 training steps took 43 s so, and 3.4 s with
    # this.
    "OMP_WAIT_POLICY": "PASSIVE",
    # But not asleep at once: a training step is some 200 short operators, and waking a thread for each took
    # 10%.
    "GOMP_SPINCOUNT": "5000",
    # Large tensors in huge pages. Extracting two dense images of a 1024 px generator took 11 s so, and 15 s
    # with pages of 4 kB (docs/performance.md).
    "THP_MEM_ALLOC_ENABLE": "1",
}


def prepare_environment() -> None:
    """Set what the user has not set. It has an effect before torch is imported, and none later."""
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
    cores = num_cores()
    if cores < bound_cores():
        # Torch counts the cores that it may run on and knows no quota. A thread for each of 64 cores, in a
        # container with the time of 2, would wait most of the time for its turn.
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))
