"""What an error means to people: one line, and whether they can mend it themselves.

The commands make an exit code of it, the functions an exception.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from pipeline.errors import RunError, UsageError, line_of

FULL = (errno.ENOSPC, errno.EDQUOT)
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")
OF_A_GPU = "cuda"  # in torch's words for want of memory there
SMALLER = ("--render-batch", "--tile", "--batch-size")
"""Settings with which a command takes less memory, where it has them."""
REPORT = "run again with --debug for the traceback, and report it"


def explain(
    error: Exception, report: str = REPORT, flags: Collection[str] = (), *, begins_anew: bool = False
) -> tuple[int, str]:
    """Exit code and one line for an error: 1 for a run that failed, 2 for wrong use or bad input.

    Only an error that no code foresaw is called unexpected; what to ``report`` follows then. ``flags``: those
    of the command, for a way out that it has. ``begins_anew``: with the same flags it would not go on.
    """
    from fstore.errors import CorruptionError, OverflowError16, StoreError, UnreadableError

    line = how_to_go_on(line_of(str(error)), begins_anew)
    if isinstance(error, (RunError, CorruptionError, OverflowError16, UnreadableError)):
        return 1, line
    if isinstance(error, (UsageError, StoreError)):
        return 2, line
    said = _of_the_system(error, line, flags)
    if said:
        return 1, how_to_go_on(line_of(said), begins_anew)
    return 1, f"unexpected {type(error).__name__}: {line}; {report}"


def how_to_go_on(line: str, begins_anew: bool) -> str:
    """A line that may say that the same command goes on, true of a command that ``begins_anew``."""
    return re.sub(r"the same command( again)?", r"\g<0> without --overwrite", line) if begins_anew else line


def _of_the_system(error: Exception, line: str, flags: Collection[str]) -> str | None:
    """The line for what the machine lacks or forbids."""
    if isinstance(error, OSError) and error.errno in FULL:
        return (
            f"the disk is full ({error.filename or 'while writing'}); make room, then the same command goes "
            "on from where it was"
        )
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return (
            f"a file would become larger than is allowed ({error.filename or 'while writing'}); raise the "
            "limit (ulimit -f) or write to another file system, then the same command goes on from where it "
            "was"
        )
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or type(error).__name__}: {error.strerror}"
    if isinstance(error, MemoryError) or any(words in line.lower() for words in OUT_OF_MEMORY):
        return f"out of memory ({line or 'host'}); {_with_less_memory(flags, OF_A_GPU in line.lower())}"
    return None


def _with_less_memory(flags: Collection[str], on_gpu: bool) -> str:
    """The ways out that a command with these flags has, on the host or on a GPU."""
    smaller = [flag for flag in SMALLER if flag in flags]
    ways = [f"a smaller {' or '.join(smaller)}"] if smaller else []
    other = "--device cpu" if on_gpu else "--memory-budget"
    ways += [other] if other.split()[0] in flags else []
    return f"use {', or '.join(ways)}" if ways else "end other programs, or use a machine with more"


@contextmanager
def errors_explained(flags: Collection[str] = (), *, begins_anew: bool = False) -> Iterator[None]:
    """A block that fails with UsageError or RunError alone, whatever its error was: that is the cause.

    Both have the line that the command with these ``flags`` prints. KeyboardInterrupt passes as it is.
    """
    try:
        yield
    except Exception as error:
        code, line = explain(error, "report it with this traceback", flags, begins_anew=begins_anew)
        if isinstance(error, (UsageError, RunError)) and str(error) == line:
            raise
        raise (UsageError if code == 2 else RunError)(line) from error
