"""What a worker says of a task: figures, or an error as plain data.

No exception travels: its class may not survive pickling, or be missing on the other side. The client makes an
error of the same meaning, whose line names the worker.
"""

from __future__ import annotations

import errno
import traceback
from dataclasses import dataclass
from typing import Any

from fstore.errors import CorruptionError, MismatchError, OverflowError16, StoreError, UnreadableError
from pipeline.errors import RunError, UsageError

# Of an error that is of several the first counts, and decides the exit code.
KINDS = (UsageError, RunError, CorruptionError, UnreadableError, OverflowError16, MismatchError, StoreError)
MAY_PASS = (CorruptionError, UnreadableError)  # where a shared file system shows a file late, or fails
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Done:
    """``figures``: what the work returned. ``seconds``: how long it took."""

    figures: Any
    seconds: float = 0.0


@dataclass(frozen=True)
class Stopped:
    """The run has ended meanwhile; nobody waits for the task any more."""


@dataclass(frozen=True)
class Absent:
    """The worker does not know the run: its process was started anew, at the address of another one."""


@dataclass(frozen=True)
class Failed:
    """``kind``: one of ``KINDS``, OSError, MemoryError, or None for any other. ``line``: what the error
    says.
    """

    kind: type[Exception] | None
    line: str
    trace: str = ""
    number: int | None = None
    """Of an OSError: its errno."""
    file: str | None = None
    is_lost: bool = False
    """Whether the worker did not say it: its process ended, maybe because of another task."""

    @property
    def is_final(self) -> bool:
        """Whether another attempt would fail likewise: wrong input stays wrong, and a full disk full."""
        if self.kind is OSError:
            return self.number in FULL
        return self.kind in KINDS and self.kind not in MAY_PASS


Outcome = Done | Stopped | Absent | Failed


class TraceOfWorker(Exception):
    """The traceback of a worker as text: the cause of the client's error, which ``--debug`` shows."""


def failed(error: BaseException) -> Failed:
    """An error as data."""
    line, trace = " ".join(str(error).split()), "".join(traceback.format_exception(error))
    if isinstance(error, OSError) and error.errno is not None:
        name = None if error.filename is None else str(error.filename)
        return Failed(OSError, error.strerror or line, trace, error.errno, name)
    kind = next((known for known in (*KINDS, MemoryError) if isinstance(error, known)), None)
    return Failed(kind, line if kind else f"{type(error).__name__}: {line}", trace)


def error_of(outcome: Failed, worker: str, what: str = "") -> Exception:
    """The error that ends the run: of the same class, so that it has the same exit code.

    ``what``: the task, and how often it failed, for an error that says nothing of it.
    """
    before = f"{what}: " if what else ""
    if outcome.kind is OSError and outcome.number is not None:
        # The file and the reason become the line; see `pipeline.api.explanation`.
        place = f"{outcome.file or 'a file'} on worker {worker}"
        error: Exception = OSError(outcome.number, outcome.line, f"{before}{place}")
    else:
        error = (outcome.kind or RunError)(f"{before}worker {worker}: {outcome.line}")
    error.__cause__ = TraceOfWorker(f"\n{outcome.trace}") if outcome.trace else None
    return error
