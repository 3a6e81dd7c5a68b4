"""Runs calls in the background: on one thread, in order, and a bounded number of them ahead.

Stages write what is ready so, while they make what comes next. This module knows calls. It does not know what
they do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any


class BackgroundCalls:
    """A context in which ``submit`` returns at once. It is a class because it holds the thread and the queue.

    Calls run one after another in the order of submission. At most ``depth`` are unfinished: a further
    ``submit`` waits, which bounds the memory that their arguments take. With depth 0 the caller does the work
    itself. The first exception is raised by a later ``submit`` or at the end; calls that wait then are not
    begun. ``stop`` is called when the context ends by an exception, such as an interrupt, so that a running
    call can end early.
    """

    def __init__(self, depth: int, stop: Callable[[], None] = lambda: None) -> None:
        self._depth = depth
        self._stop = stop
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="dgan-write")
        self._unfinished: deque[Future[Any]] = deque()
        self._has_failed = False

    def submit(self, call: Callable[..., object], *arguments: Any) -> None:
        """Have ``call(*arguments)`` done after all earlier ones."""
        if self._depth == 0:
            call(*arguments)
            return
        self.make_room()
        self._unfinished.append(self._pool.submit(self._run, call, *arguments))

    def _run(self, call: Callable[..., object], *arguments: Any) -> None:
        if self._has_failed:
            return
        try:
            call(*arguments)
        except BaseException:
            self._has_failed = True
            raise

    def make_room(self) -> None:
        """Wait until a further ``submit`` would not have to wait. Raises what a finished call raised."""
        while self._unfinished and len(self._unfinished) >= self._depth:
            self._unfinished.popleft().result()

    def check(self) -> None:
        """Raise what a finished call raised, without waiting: long work need not go on to the next submit."""
        while self._unfinished and self._unfinished[0].done():
            self._unfinished.popleft().result()

    def finish(self) -> None:
        """Wait for every call that was submitted. Raises what the first of them raised."""
        while self._unfinished:
            self._unfinished.popleft().result()

    def __enter__(self) -> BackgroundCalls:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                self._stop()
            if error is None:
                self.finish()
        except BaseException:
            self._stop()
            raise
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
