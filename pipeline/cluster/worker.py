"""What runs on a worker: it joins a run, prepares its state once, and does tasks with it.

A state is made by ``begin(*args)`` and kept by a digest of both, until the run leaves. One task at a time
works with it, whatever number of threads the worker has. This module knows no scheduler and no stage.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from pipeline.cluster.outcomes import Absent, Done, Outcome, Stopped, failed
from pipeline.cluster.program import program
from pipeline.machine.environment import prepare_environment

prepare_environment()  # before a stage imports torch

LEAVE_SECONDS = 60
"""How long a run that ends waits for what its workers are writing."""


@dataclass
class Membership:
    """A run that this process works for, and what it has prepared. A class, because threads share it."""

    content: bytes
    """``begin`` and its arguments, pickled."""
    threads: int | None
    turn: threading.Lock = field(default_factory=threading.Lock)
    state: Any = None
    is_ready: bool = False
    active: set[int] = field(default_factory=set)
    """The threads that have a task of the run."""
    is_stopped: bool = False

    def prepare(self) -> Any:
        """What ``begin`` made, once. The caller has the turn."""
        if self.threads is not None:  # each thread of a process has its own number
            from pipeline.machine.device import set_threads

            set_threads(self.threads)
        if not self.is_ready:
            begin, arguments = pickle.loads(self.content)
            self.state, self.is_ready = begin(*arguments), True
        return self.state


_RUNS: dict[str, Membership] = {}
_CURRENT: ContextVar[Membership | None] = ContextVar("the run of this task", default=None)


def join_run(key: str, content: bytes, threads: int | None, dask_worker: Any = None) -> dict[str, Any]:
    """Take part in a run. Returns what this process is, for the client to judge. It prepares nothing yet."""
    _RUNS.setdefault(key, Membership(content, threads))
    resources = dict(dask_worker.state.total_resources) if dask_worker is not None else {}
    return {
        "program": program(),
        "host": socket.gethostname(),
        "process": os.getpid(),
        "resources": resources,
        "seat": _seat(dask_worker),
    }


def _seat(dask_worker: Any) -> str | None:
    """What is the same of the process that is started where this one ends; None where nothing is."""
    if dask_worker is None:
        return None
    if dask_worker.nanny is not None:
        return str(dask_worker.nanny)
    # One without a name goes by its address, which changes.
    return None if dask_worker.name == dask_worker.address else str(dask_worker.name)


def look_for_gpu() -> bool:
    """Whether torch sees a GPU in this process."""
    import torch

    return bool(torch.cuda.is_available())


def prepare(key: str) -> Outcome:
    """Make the state of a run: what a worker needs is looked for here, before its first task."""
    return _with_state(key, lambda state: None)


def perform(key: str, work: Callable[[Any, Any], Any], task: Any) -> Outcome:
    """Do one task of a run."""
    return _with_state(key, lambda state: work(state, task))


def _with_state(key: str, work: Callable[[Any], Any]) -> Outcome:
    member = _RUNS.get(key)
    if member is None:
        return Absent()
    member.active.add(threading.get_ident())
    before = _CURRENT.set(member)
    try:
        with member.turn:
            start = time.monotonic()
            check_stopped()
            figures = work(member.prepare())
            return Done(figures, time.monotonic() - start)
    except Exception as error:
        return Stopped() if member.is_stopped else failed(error)
    finally:
        _CURRENT.reset(before)
        member.active.discard(threading.get_ident())


def check_stopped() -> None:
    """Raise InterruptedError where the run has ended: long work calls this between its parts.

    It may be called anywhere; outside of a task it does nothing.
    """
    member = _CURRENT.get()
    if member is not None and member.is_stopped:
        raise InterruptedError("the run has ended")


async def leave_run(key: str, seconds: float = LEAVE_SECONDS) -> bool:
    """Forget a run and what was prepared for it; its tasks end soon. Returns whether all have ended.

    A client waits for it, so that the next run does not meet what this one still writes.
    """
    member = _RUNS.pop(key, None)
    if member is None:
        return True
    member.is_stopped = True
    end = time.monotonic() + seconds
    while member.active and time.monotonic() < end:
        await asyncio.sleep(0.02)
    return not member.active
