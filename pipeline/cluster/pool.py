"""A pool of workers: hands out the tasks of a run, a few at a time, and gives back what they return.

A worker is checked before its first task, and left out with a line where it lacks something. A task whose
worker dies or fails is done again elsewhere; one that fails three times ends the run. Tasks are idempotent:
a worker that was given up may still finish one.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any
from uuid import uuid4

from pipeline.cluster.attendance import Attendance, Ledger, RunContent
from pipeline.cluster.crew import Crew
from pipeline.cluster.handout import Handout
from pipeline.cluster.worker import LEAVE_SECONDS, leave_run
from pipeline.errors import short

Say = Callable[[str], None]


class Pool:
    """Workers that do tasks. `pipeline.cluster.opening.open_pool` makes it."""

    def __init__(self, crew: Crew, threads: int | None, device: str, say: Say) -> None:
        """``threads``: of torch, in each worker; None leaves its own choice. ``device``: by which name each
        worker's device goes there.
        """
        self.device = device
        self._crew, self._threads, self._say = crew, threads, say
        self._token = uuid4().hex[:12]
        self._ledger = Ledger()
        self._handouts: list[Handout] = []

    @property
    def num_workers(self) -> int:
        """How many workers there are now, or will come by themselves; at least 1."""
        return max(1, self._crew.num_expected, len(self._crew.client.nthreads()))

    @property
    def num_sharing(self) -> int:
        """How many workers the machine with the most of them has: they share its memory. At least 1.

        Workers that come to a cluster later are not counted.
        """
        hosts = Counter(host_of(address) for address in self._crew.client.nthreads())
        return max(1, self._crew.num_expected, *hosts.values())

    def run(
        self,
        begin: Callable[..., Any],
        arguments: tuple[Any, ...],
        work: Callable[[Any, Any], Any],
        tasks: Iterable[Any],
        describe: Callable[[Any], str] = lambda task: f"task {short(task)}",
    ) -> Iterator[tuple[Any, Any]]:
        """Do ``work(begin(*arguments), task)`` for each task on the workers. Gives (task, what it returned).

        They come in any order. ``begin`` and ``work`` are functions of modules. ``begin`` runs once in each
        worker process, before its first task, and raises what the worker lacks. ``tasks`` is read as workers
        become free. ``describe`` names a task in a message.

        Raises the error of a task that cannot be done, of its own class, with a line that names the worker;
        RunError where no worker is left or the scheduler is lost.
        """
        content = pickle.dumps((begin, arguments))
        key = f"dgan-{self._token}-{sha256(content).hexdigest()[:16]}"
        run = RunContent(key, content, self._threads)
        attendance = Attendance(self._crew, run, self._ledger, self._say)
        handout = Handout(attendance, self._crew.client, key, work, describe, self._ledger.numbers)
        self._handouts.append(handout)
        try:
            yield from handout.results(iter(tasks))
        finally:
            handout.withdraw()
            self._handouts.remove(handout)

    def leave(self) -> None:
        """Have workers that go on forget this run, once what they are writing is whole."""
        for (
            handout
        ) in self._handouts:  # of a caller that stopped in the middle, because of an error of its own
            handout.withdraw()
        if not self._crew.keeps_processes:
            return
        for key, addresses in self._ledger.joined.items():
            try:
                present = [address for address in self._crew.client.nthreads() if address in addresses]
                if present:
                    self._crew.client.run(leave_run, key, LEAVE_SECONDS, workers=present, on_error="ignore")
            except Exception:  # of many classes: the scheduler is gone, and its workers go with it
                return


def host_of(address: str) -> str:
    """The machine in a worker's address, such as ``tcp://10.0.0.7:38123`` or ``tls://[fe80::1]:38123``; of an
    address that names none (``inproc://``) all of it.
    """
    rest = address.partition("://")[2]
    return rest.rpartition(":")[0] or address


@contextmanager
def pool_of(crew: Crew, threads: int | None, device: str, say: Say) -> Iterator[Pool]:
    """A pool of these workers, which forget the run at the end of the block."""
    pool = Pool(crew, threads, device, say)
    try:
        yield pool
    finally:
        pool.leave()
