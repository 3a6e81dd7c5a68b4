"""Runs independent pieces of work on the cores of the CPU, with one thread of torch's in each.

It does not know what they do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """A block in which torch's operators use one thread: here, and in threads that begin within the block.

    A thread that has asked torch for its number of threads before keeps that.
    """
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def parallel(work: Callable[[int], None], items: Iterable[int], device: torch.device) -> None:
    """Do ``work`` for each item. On a CPU as many threads as torch has do so, and torch has one in each.

    Threads that work on different bands do not wait for each other after every small operation.
    """
    num_threads = torch.get_num_threads()
    if device.type != "cpu" or num_threads == 1:
        for item in items:
            work(item)
        return
    with one_thread(), ThreadPoolExecutor(num_threads, thread_name_prefix="dgan-label") as pool:
        for _ in pool.map(torch.inference_mode()(work), items):
            pass
