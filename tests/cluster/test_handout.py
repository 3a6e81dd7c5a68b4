"""Which task is blamed for the end of its worker's process, in scripted flights: no process, no scheduler."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clusters import scripted_result

from pipeline.cluster import handout
from pipeline.cluster.attendance import Attendance, Member
from pipeline.cluster.handout import Attempt, Flight, Handout
from pipeline.cluster.outcomes import Done
from pipeline.errors import RunError


@pytest.fixture(scope="module", autouse=True)
def _results_of_a_script() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handout, "request_result", scripted_result)
        yield


class Scripted(Handout):
    """Workers whose processes end whenever they have one of the tasks ``deadly``, also while it waits.

    All that a process had is lost with it, also what was done.
    """

    def __init__(self, num_workers: int, deadly: set[int]) -> None:
        members = {f"w{i}": Member(f"w{i}", i, "here", {}, is_ready=True) for i in range(num_workers)}
        crew: Any = SimpleNamespace(members=members, look=lambda: ([], []))
        attendance: Attendance = crew
        super().__init__(attendance, None, "key", work, lambda task: f"task {task}", itertools.count())
        self.deadly = deadly
        self.deaths: list[set[int]] = []
        self._are_quick = True

    def _submit(
        self, member: Member, attempt: Attempt | None, call: Callable[..., Any], *more: Any
    ) -> Flight:
        name = f"flight {next(self._numbers)}"
        future = SimpleNamespace(status="finished", outcome=Done(more[-1]), release=lambda: None)
        flight = self._flights[name] = Flight(future, member, attempt)
        member.flying.add(name)
        return flight

    def _fill(self, attempts: Any) -> None:
        super()._fill(attempts)
        for member in self._attendance.members.values():
            flights = [self._flights[name] for name in member.flying]
            living = [flight for flight in flights if flight.future.status != "lost"]
            had = {flight.attempt.task for flight in living if flight.attempt is not None}
            if had & self.deadly:
                self.deaths.append(had)
                for flight in living:
                    flight.future.status = "lost"
            for name in sorted(member.flying):
                self._landed.put(name)


def work(state: Any, task: int) -> int:
    return task


def test_the_task_that_ends_its_process_is_blamed_and_not_its_neighbour() -> None:
    handout, done = Scripted(1, {3}), []
    with pytest.raises(RunError, match=r"^task 3 failed 3 times, the last time: worker w0 .*was killed"):
        done.extend(task for task, _ in handout.results(iter(range(20))))
    assert handout.deaths[-3:] == [{3}, {3}, {3}] and all(len(had) == 2 for had in handout.deaths[:-3])


@given(st.integers(1, 4), st.integers(1, 30), st.data())
def test_only_a_deadly_task_ends_a_run(workers: int, num: int, data: st.DataObject) -> None:
    deadly = data.draw(st.sets(st.integers(0, num - 1), max_size=3))
    handout, done = Scripted(workers, deadly), list[int]()
    try:
        for task, _ in handout.results(iter(range(num))):
            done.append(task)
    except RunError as error:
        assert int(str(error).split()[1]) in deadly
        assert handout.deaths[-1] <= deadly
    else:
        assert not deadly and sorted(done) == list(range(num))
    assert len(done) == len(set(done)) and not deadly & set(done)


def test_a_process_that_ends_once_costs_its_tasks_no_attempt() -> None:
    """Both are done again, each alone, and the rest goes on in twos."""

    class Once(Scripted):
        def _fill(self, attempts: Any) -> None:
            super()._fill(attempts)
            if self.deaths:
                self.deadly = set()

    handout = Once(1, {3})
    assert sorted(task for task, _ in handout.results(iter(range(9)))) == list(range(9))
    assert len(handout.deaths) == 1
