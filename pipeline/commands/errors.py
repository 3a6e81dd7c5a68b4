"""How a command ends: one clear line and the right exit code, whatever went wrong. Knows no command."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import click

from pipeline.errors import RunError, UsageError

Function = TypeVar("Function", bound=Callable[..., Any])


def report_errors(command: Function) -> Function:
    """Run a command so that it ends in one clear line and the right exit code, with a traceback only under
    ``--debug``.
    """

    @functools.wraps(command)
    def wrapped(*args: Any, debug: bool, **kwargs: Any) -> None:
        debug = debug or bool(click.get_current_context().find_root().params.get("debug"))
        try:
            with warnings.catch_warnings():
                warnings.showwarning = partial(_show_warning, warnings.showwarning)
                command(*args, **kwargs)
        except (click.ClickException, BrokenPipeError):  # click ends quietly where `| head` has heard enough
            raise
        except KeyboardInterrupt:
            click.echo(
                "interrupted; a stage goes on from what it finished when the same command is run again",
                err=True,
            )
            sys.exit(130)
        except Exception as error:
            if debug:
                raise
            code, line = explain(error)
            click.echo(f"Error: {line}", err=True)
            sys.exit(code)

    return wrapped  # type: ignore[return-value]


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
    """Exit code and one line for an error."""
    import errno

    from fstore.errors import CorruptionError, OverflowError16, StoreError, UnreadableError

    line = " ".join(str(error).split())
    if isinstance(error, (RunError, CorruptionError, OverflowError16, UnreadableError)):
        return 1, line
    if isinstance(error, (UsageError, StoreError)):
        return 2, line
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            1,
            f"the disk is full ({error.filename or 'while writing'}); make room, then the same command goes "
            "on from where it was",
        )
    if isinstance(error, OSError) and error.strerror:
        return 1, f"{error.filename or type(error).__name__}: {error.strerror}"
    if isinstance(error, MemoryError) or "out of memory" in line.lower():
        return (
            1,
            f"out of memory ({line or 'host'}); use a smaller --render-batch, --tile or --batch-size, or "
            "--device cpu",
        )
    return (
        1,
        f"unexpected {type(error).__name__}: {line}; run again with --debug for the traceback, and report it",
    )
