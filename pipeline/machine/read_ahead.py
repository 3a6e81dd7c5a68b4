"""Reads or makes items on threads ahead of who uses them, in order. It does not know what they are."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from pipeline.machine.cores import num_cores

MAX_THREADS = 4  # decoding pictures leaves Python's lock alone; more threads would only hold more of them

T = TypeVar("T")
R = TypeVar("R")


def read_ahead(
    read: Callable[[T], R], items: Iterable[T], ahead: int, *, most_threads: int = MAX_THREADS
) -> Iterator[R]:
    """``read(item)`` of each item, in order. At most ``ahead`` + 1 results that nobody has taken yet exist.

    Raises what ``read`` raises, where its result would come. What waits when the iterator is closed is not
    begun.
    """
    threads = max(1, min(most_threads, num_cores()))
    pool = ThreadPoolExecutor(threads, thread_name_prefix="dgan-read")
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(read, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
