"""Runs independent pieces of work on the cores of the CPU. It does not know what they do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import torch


def parallel(work: Callable[[int], None], items: Iterable[int], device: torch.device) -> None:
    """Do ``work`` for each item. On a CPU as many threads as torch has do so, and torch has one in each.

    Threads that work on different bands do not wait for each other after every small operation.
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
