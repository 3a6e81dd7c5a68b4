"""Hands out the tasks of one run: which worker gets which, what has come back, and what is to be done again.

At most two tasks of a worker are at the scheduler at any time, so that neither its memory nor this process's
grows with the number of tasks. A task is tied to its worker: when that one is gone, the task is taken back
here, and its attempts are counted here. Where a process ends that had two tasks, nobody knows which of them
ended it: each is done again with no other one beside it, and only then does an end count against it.
"""

from __future__ import annotations

import itertools
import pickle
from asyncio import run_coroutine_threadsafe
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from pipeline.cluster.attendance import Attendance, Member
from pipeline.cluster.outcomes import Absent, Done, Failed, Outcome, error_of, failed
from pipeline.cluster.worker import perform, prepare

LOOK_SECONDS = 0.5  # between two looks at which workers are there
QUICK_SECONDS = 1.0  # a worker whose tasks take less has the next one waiting
MOST_ATTEMPTS = 3
RESULT_SECONDS = 30  # for a few figures; after it they are lost

LOST = Failed(
    None, "the process ended: it was killed, or ran out of memory, or its machine was lost", is_lost=True
)


@dataclass(frozen=True)
class Call:
    """A call that is made where its bytes are read.

    The scheduler reads what is submitted. It sees bytes so, and needs no module of this program.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


@dataclass(eq=False)
class Attempt:
    """A task, and how often it was given out, but for the times that another one may have ended."""

    task: Any
    number: int = 0
    goes_alone: bool = False
    """Whether its worker gets no other task meanwhile."""


@dataclass
class Flight:
    """What is at a worker: a future, and the attempt; None of a worker's preparation."""

    future: Any
    member: Member
    attempt: Attempt | None
    is_shared: bool = False
    """Whether its worker had another task at any time of the flight."""


def request_result(client: Any, future: Any) -> Future[Outcome]:
    """Ask the worker for what it has returned. Who waits no longer leaves the request to itself.

    It must never be cancelled, as the time limit of dask's ``Future.result`` does: dask joins later requests
    to one that waits, so that each of them would be cancelled too.
    """
    return run_coroutine_threadsafe(client.gather(future, asynchronous=True), client.loop.asyncio_loop)


class Handout:
    """The tasks of one run on their way. A class because it holds what is where."""

    def __init__(
        self,
        attendance: Attendance,
        client: Any,
        key: str,
        work: Callable[[Any, Any], Any],
        describe: Callable[[Any], str],
        numbers: Iterator[int],
    ) -> None:
        self._attendance, self._client, self._key, self._numbers = attendance, client, key, numbers
        self._work, self._describe = work, describe
        self._flights: dict[str, Flight] = {}
        self._again: deque[Attempt] = deque()
        self._landed: SimpleQueue[str] = SimpleQueue()
        self._are_quick = False

    def results(self, tasks: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
        """What `Pool.run` gives."""
        attempts = (Attempt(task) for task in tasks)
        self._again.extend(itertools.islice(attempts, 1))
        look = 0.0
        while self._again or any(flight.attempt is not None for flight in self._flights.values()):
            if monotonic() >= look:
                self._look()
                look = monotonic() + LOOK_SECONDS
            self._fill(attempts)
            try:
                name = self._landed.get(timeout=max(0.0, look - monotonic()))
            except Empty:
                continue
            flight = self._flights.pop(name, None)
            if flight is None:  # taken back meanwhile
                continue
            flight.member.flying.discard(name)
            outcome = self._outcome(flight)
            if flight.attempt is None:
                self._begun(flight.member, outcome)
            elif isinstance(outcome, Done):
                self._are_quick = outcome.seconds < QUICK_SECONDS
                if not self._again:
                    self._again.extend(itertools.islice(attempts, 1))
                yield flight.attempt.task, outcome.figures
            else:
                self._failed(flight, outcome)

    def withdraw(self) -> None:
        """Take back what is at the workers; what runs already ends there by itself."""
        futures = [flight.future for flight in self._flights.values()]
        self._flights.clear()
        if futures and self._client.status == "running":
            with suppress(Exception):  # of many classes: nobody is there any more
                self._client.cancel(futures, force=True)
        for future in futures:
            future.release()

    def num_flying(self) -> int:
        """Tasks that are at the scheduler, preparations included."""
        return len(self._flights)

    def _fill(self, attempts: Iterator[Attempt]) -> None:
        """Give the workers what they have room for, those first that have least."""
        room = 2 if self._are_quick else 1
        for depth in range(room):
            for member in self._attendance.members.values():
                if not member.is_ready or len(member.flying) != depth:
                    continue
                beside = [self._flights[name] for name in member.flying]
                if any(flight.attempt is not None and flight.attempt.goes_alone for flight in beside):
                    continue
                attempt = self._next(attempts, is_alone=not beside)
                if attempt is None:
                    return
                attempt.number += 1
                flight = self._submit(member, attempt, perform, self._work, attempt.task)
                for each in [*beside, flight]:
                    each.is_shared = bool(beside)

    def _next(self, attempts: Iterator[Attempt], *, is_alone: bool) -> Attempt | None:
        """The next task of a worker that has none, or that has one; None where there is no such task."""
        for place, attempt in enumerate(self._again):
            if is_alone or not attempt.goes_alone:
                del self._again[place]
                return attempt
        return next(attempts, None)

    def _submit(
        self, member: Member, attempt: Attempt | None, call: Callable[..., Any], *more: Any
    ) -> Flight:
        name = f"{self._key}-{next(self._numbers)}"
        needs = {"GPU": 1} if member.resources.get("GPU", 0) >= 1 else None
        future = self._client.submit(
            pickle.loads,
            pickle.dumps(Call(call, (self._key, *more))),
            key=name,
            pure=False,
            workers=[member.address],
            allow_other_workers=False,
            resources=needs,
            retries=0,
        )
        flight = self._flights[name] = Flight(future, member, attempt)
        member.flying.add(name)
        future.add_done_callback(lambda _: self._landed.put(name))
        return flight

    def _outcome(self, flight: Flight) -> Outcome:
        """What a future has brought. It is forgotten here and by the scheduler."""
        future = flight.future
        try:
            if future.status == "finished":
                return self._fetched(flight)
            if future.status == "error":
                return replace(failed(future.exception(timeout=RESULT_SECONDS)), is_lost=True)
            return LOST
        except Exception as error:  # between its end and this call the worker was lost
            return replace(failed(error), is_lost=True)
        finally:
            future.release()

    def _fetched(self, flight: Flight) -> Outcome:
        """The outcome, which lies at the worker; one that has died since then will never send it."""
        request = request_result(self._client, flight.future)
        end = monotonic() + RESULT_SECONDS
        while not wait([request], LOOK_SECONDS).done:
            if flight.member.address not in self._client.nthreads() or monotonic() > end:
                return LOST
        outcome: Outcome = request.result()
        return outcome

    def _look(self) -> None:
        """Have new workers prepare, and take back the tasks of those that are gone."""
        gone, new = self._attendance.look()
        for member in gone:
            self._lose(member)
        for member in new:
            self._submit(member, None, prepare)

    def _begun(self, member: Member, outcome: Outcome) -> None:
        """Let a worker have tasks that has prepared; leave it out where it lacks something."""
        if isinstance(outcome, Done):
            self._attendance.ready(member)
        elif isinstance(outcome, Failed) and outcome is not LOST:
            self._attendance.leave_out(member, outcome.line)
        else:
            self._attendance.members.pop(member.address, None)  # the next look greets who is there now
            self._attendance.died(member)

    def _lose(self, member: Member) -> None:
        """A worker is gone: its tasks are to be done again."""
        for name in sorted(member.flying):
            flight = self._flights.pop(name)
            self._client.cancel([flight.future], force=True)
            flight.future.release()
            if flight.attempt is not None:
                self._failed(flight, LOST)
            else:
                self._attendance.died(member)

    def _failed(self, flight: Flight, outcome: Outcome) -> None:
        """Do a task again, or raise the error that ends the run."""
        members, member, attempt = self._attendance.members, flight.member, flight.attempt
        assert attempt is not None, "a preparation is no task"
        if isinstance(outcome, Absent) and members.get(member.address) is member:
            self._lose(members.pop(member.address))  # the next look greets who is there now
        if not isinstance(outcome, Failed):
            outcome = Failed(None, "it does not take part in the run any more")
        if outcome.is_lost and flight.is_shared:
            attempt.number -= 1
            attempt.goes_alone = True
            self._again.append(attempt)
            return
        if outcome.is_final:
            raise error_of(outcome, member.label)
        if attempt.number >= MOST_ATTEMPTS:
            what = f"{self._describe(attempt.task)} failed {MOST_ATTEMPTS} times, the last time"
            raise error_of(outcome, member.label, what)
        self._again.append(attempt)
