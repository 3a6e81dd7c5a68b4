"""Workers whose processes end while they prepare, and start anew, in a script: no process, no scheduler."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from support.clusters import scripted_result

from pipeline.cluster import handout
from pipeline.cluster.attendance import Attendance, Ledger, RunContent
from pipeline.cluster.handout import Handout
from pipeline.cluster.outcomes import Absent, Done, Outcome
from pipeline.cluster.program import program
from pipeline.errors import RunError

GONE = "gone"  # the process ends while it prepares, and another one takes its seat, at another address


class Restarting:
    """A crew, its client and its one worker, whose process starts anew after each end.

    ``script``: what becomes of each preparation in turn; the last goes on for ever.
    """

    num_expected, wait_seconds, keeps_processes = 1, 600.0, False

    def __init__(self, script: list[Outcome | str], seats: list[str | None]) -> None:
        self.client = self
        self.script, self.seats = script, seats
        self.process = 0

    def tend(self, processes: set[int]) -> None:
        pass

    def nthreads(self) -> dict[str, int]:
        return {f"w{self.process}": 1}

    def run(self, *arguments: Any, **settings: Any) -> dict[str, Any]:
        facts = {"program": program(), "host": "here", "process": self.process, "resources": {}}
        return {f"w{self.process}": {**facts, "seat": self.seats[self.process % len(self.seats)]}}

    def submit(self, *arguments: Any, **settings: Any) -> Any:
        outcome = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if outcome == GONE:
            self.process += 1
        return SimpleNamespace(
            status="finished",
            outcome=outcome,
            release=lambda: None,
            add_done_callback=lambda call: None if outcome == GONE else call(None),
        )

    def cancel(self, futures: list[Any], **settings: Any) -> None:
        pass


def results(crew: Any, said: list[str], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setattr(handout, "LOOK_SECONDS", 0)
    monkeypatch.setattr(handout, "request_result", scripted_result)
    attendance = Attendance(crew, RunContent("key", b"", None), Ledger(), said.append)
    made = Handout(attendance, crew, "key", print, str, itertools.count())
    return list(made.results(iter([1])))


@pytest.mark.parametrize("end", [GONE, Absent()])
@pytest.mark.parametrize("seats", [["worker-0"], [None]])
def test_a_worker_that_dies_three_times_while_it_prepares_ends_the_run(
    end: Outcome | str, seats: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    with pytest.raises(RunError) as caught:
        results(Restarting([end], seats), said, monkeypatch)
    last = 2 if end == GONE else 0
    assert str(caught.value) == (
        f"worker w{last} (host here, process {last}) died 3 times while it was getting ready; it may have "
        "had too little memory: start fewer workers, or take a machine with more memory"
    )
    assert [line.partition(") ")[2] for line in said] == [
        f"died while it was getting ready ({deaths} of at most 3 times)" for deaths in (1, 2)
    ]


def test_only_deaths_in_turn_of_one_worker_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers die twice each, one of them gets ready, and dies twice more."""
    said: list[str] = []
    script = [GONE, GONE, GONE, GONE, Done(None), Absent(), GONE, GONE, Done(None), Done("figures")]
    seats = ["a", "b", "b", "a", "a"]
    assert results(Restarting(script, seats), said, monkeypatch) == [(1, "figures")]
    assert len(said) == 6
