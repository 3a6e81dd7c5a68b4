"""Independent pieces of work on the CPU's cores. It knows nothing of what they do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import torch


def parallel(work: Callable[[int], None], items: Iterable[int], device: torch.device) -> None:
    """Do ``work`` for each item; on a CPU on as many threads as torch has, each of them with one of torch's.

    Two threads on different bands need not wait for each other at each of their many small operations.
    """
    num_threads = torch.get_num_threads()
    if device.type != "cpu" or num_threads == 1:
        for item in items:
            work(item)
        return
    torch.set_num_threads(1)  # what threads made from now on begin with
    try:
        with ThreadPoolExecutor(num_threads, thread_name_prefix="dgan-label") as pool:
            for _ in pool.map(torch.inference_mode()(work), items):
                pass
    finally:
        torch.set_num_threads(num_threads)
