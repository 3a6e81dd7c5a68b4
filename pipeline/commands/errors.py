"""The line and the exit code for each error: 1 for a run that failed, 2 for wrong use or bad input."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import click

from pipeline.errors import RunError, UsageError

FULL = (errno.ENOSPC, errno.EDQUOT)
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")


@contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """A block in which the store's warnings are shown as lines, without a place in the source."""
    with warnings.catch_warnings():
        warnings.showwarning = partial(_show_warning, warnings.showwarning)
        yield


def _show_warning(
    show: Callable[..., None], message: Warning | str, category: type[Warning], *where: Any, **more: Any
) -> None:
    """The store's warnings as one line; those of libraries as Python shows them."""
    from fstore.errors import StoreWarning

    if issubclass(category, StoreWarning):
        click.echo(f"Warning: {' '.join(str(message).split())}", err=True)
    else:
        show(message, category, *where, **more)


def explain(error: Exception) -> tuple[int, str]:
    """Exit code and one line for an error. Only an error that no code foresaw is called unexpected."""
    from fstore.errors import CorruptionError, OverflowError16, StoreError, UnreadableError

    line = " ".join(str(error).split())
    if isinstance(error, (RunError, CorruptionError, OverflowError16, UnreadableError)):
        return 1, line
    if isinstance(error, (UsageError, StoreError)):
        return 2, line
    if isinstance(error, OSError) and error.errno in FULL:
        return (
            1,
            f"the disk is full ({error.filename or 'while writing'}); make room, then the same command goes "
            "on from where it was",
        )
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return (
            1,
            f"a file would become larger than is allowed ({error.filename or 'while writing'}); raise the "
            "limit (ulimit -f) or write to another file system, then the same command goes on from where it "
            "was",
        )
    if isinstance(error, OSError) and error.strerror:
        return 1, f"{error.filename or type(error).__name__}: {error.strerror}"
    if isinstance(error, MemoryError) or any(words in line.lower() for words in OUT_OF_MEMORY):
        return (
            1,
            f"out of memory ({line or 'host'}); use a smaller --render-batch, --tile or --batch-size, or "
            "--device cpu",
        )
    return (
        1,
        f"unexpected {type(error).__name__}: {line}; run again with --debug for the traceback, and report it",
    )
