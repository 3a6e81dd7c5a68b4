"""Reads single images of an open store from any thread, and works through many of them on every core.

It knows arrays of stores. It does not know what is shown of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from fstore.store import Store
from pipeline.machine.cores import num_cores
from pipeline.machine.progress import progress

Result = TypeVar("Result")
AHEAD = 4  # results for each thread that wait to be taken; it bounds the memory


def read_image(store: Store, name: str, position: int) -> np.ndarray:
    """An array's values for one committed image (a position), without the image axis. Any thread may call it.

    Raises CorruptionError, UnreadableError.
    """
    index = int(store.image_ids[position])
    checked = store.array(name)
    rest = [(0, size) for size in checked.array.shape[1:]]
    return checked.read_in_thread(((index, index + 1), *rest))[0]


def worked_through(
    work: Callable[[int], Result], items: Iterable[int], total: int, text: str
) -> Iterator[Result]:
    """What ``work`` returns for each item, in the items' order, with progress; threads work ahead a little.

    The first error of any is raised here.
    """
    num_threads = num_cores()
    with progress(text, total, "images") as bar:
        pool = ThreadPoolExecutor(num_threads, thread_name_prefix="dgan-report")
        try:
            running: deque[Future[Result]] = deque()
            for item in items:
                running.append(pool.submit(work, item))
                if len(running) >= AHEAD * num_threads:
                    yield running.popleft().result()
                    bar.advance()
            while running:
                yield running.popleft().result()
                bar.advance()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
