"""Which workers take part in a run: it greets those that come, and notices those that go.

A worker is checked before it takes part, and left out with a line where it is not the same program. It hands
out no task.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from time import monotonic

from pipeline.cluster.crew import Crew
from pipeline.cluster.program import difference, program
from pipeline.cluster.worker import join_run
from pipeline.errors import RunError

Say = Callable[[str], None]
MOST_DEATHS = 3  # of one worker, in turn, while it gets ready


@dataclass
class Member:
    """A worker that takes part in the run."""

    address: str
    process: int
    host: str
    resources: dict[str, float]
    seat: str = ""
    """What stays when its process is started anew: its nanny's address, or its name, or its machine."""
    is_ready: bool = False
    flying: set[str] = field(default_factory=set)

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"{self.address} (host {self.host}, process {self.process})"


@dataclass(frozen=True)
class RunContent:
    """What a worker is told of a run: its key, ``begin`` with its arguments, pickled, and torch's threads."""

    key: str
    content: bytes
    threads: int | None


@dataclass
class Ledger:
    """What a pool keeps from run to run.

    Addresses that are left out, and those that know a run, by its key. ``numbers``: no two futures of a pool
    have one name, because the scheduler would give the later one the result of the earlier.
    """

    left_out: set[str] = field(default_factory=set)
    joined: dict[str, set[str]] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=count)


class Attendance:
    """The workers of one run. A class because they come and go."""

    def __init__(self, crew: Crew, run: RunContent, ledger: Ledger, say: Say) -> None:
        self.members: dict[str, Member] = {}
        self._crew, self._run, self._ledger, self._say = crew, run, ledger, say
        self._joined = ledger.joined.setdefault(run.key, set())
        self._reason = ""
        self._deaths: Counter[str] = Counter()  # by seat
        self._seen = monotonic()

    def look(self) -> tuple[list[Member], list[Member]]:
        """Find out who is there. Returns those that are gone, and those that have come.

        Raises RunError where none is left, or the scheduler does not answer.
        """
        client, left_out = self._crew.client, self._ledger.left_out
        try:
            present = set(client.nthreads())
        except Exception as error:
            raise RunError(
                f"the scheduler is lost ({' '.join(str(error).split())}); what is committed stays: run the "
                "same command again"
            ) from error
        gone = [self.members.pop(address) for address in sorted(self.members.keys() - present)]
        new = [self._greet(address) for address in sorted(present - self.members.keys() - left_out)]
        self._crew.tend({member.process for member in self.members.values()})
        self._check_somebody(present)
        return gone, [member for member in new if member is not None]

    def ready(self, member: Member) -> None:
        """Let a worker that has got ready have tasks."""
        member.is_ready = True
        del self._deaths[member.seat]

    def died(self, member: Member) -> None:
        """Count and say the end of a process that was getting ready: who restarts it may do so for ever.

        Raises RunError at the third in turn.
        """
        self._deaths[member.seat] += 1
        deaths = self._deaths[member.seat]
        if deaths >= MOST_DEATHS:
            raise RunError(
                f"worker {member.label} died {MOST_DEATHS} times while it was getting ready; it may have had "
                "too little memory: start fewer workers, or take a machine with more memory"
            )
        self._say(
            f"worker {member.label} died while it was getting ready ({deaths} of at most {MOST_DEATHS} times)"
        )

    def leave_out(self, member: Member, reason: str) -> None:
        """Give no more tasks to a worker, and say why."""
        self.members.pop(member.address, None)
        self._ledger.left_out.add(member.address)
        self._reason = f"worker {member.label}: {reason}"
        self._say(f"worker {member.label} is left out: {reason}")

    def _check_somebody(self, present: set[str]) -> None:
        """Raise RunError where nobody is there who could work, or will come."""
        if self.members:
            self._seen = monotonic()
        elif self._reason and present <= self._ledger.left_out and len(present) >= self._crew.num_expected:
            raise RunError(f"no worker is left: {self._reason}")
        elif monotonic() - self._seen > self._crew.wait_seconds:
            raise RunError(
                f"no worker was there for {self._crew.wait_seconds:.0f} seconds; start workers, then run the "
                "same command again"
            )

    def _greet(self, address: str) -> Member | None:
        """Tell a new worker of the run, and check that it is the same program; None where it is not."""
        run = self._run
        try:
            arguments = (run.key, run.content, run.threads)
            found = self._crew.client.run(join_run, *arguments, workers=[address], on_error="return")
        except Exception as error:
            found = {address: error}
        facts = found.get(address)
        if facts is None:  # it has left again
            return None
        if isinstance(facts, Exception):
            line = " ".join(str(facts).split())
            self.leave_out(Member(address, 0, "", {}), f"it cannot load this program ({line})")
            return None
        host = facts["host"]
        seat = facts.get("seat") or host  # another version of the program says none
        member = Member(address, facts["process"], host, facts["resources"], seat)
        differs = difference(facts["program"], program())
        if differs is not None:
            self.leave_out(member, differs)
            return None
        self._joined.add(address)
        self.members[address] = member
        return member
