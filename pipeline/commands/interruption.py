"""How Ctrl-C, SIGTERM and SIGHUP end the program: one line, exit code 130, 143 or 129, and never a traceback.

The first signal lets a running command leave what it writes whole, as an error would; the second ends at
once, which the stores survive too. This module is imported before all others, and imports nothing slow.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

LINE = "interrupted; run the same command again to go on"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _State:
    """What has happened in this process: whether the handlers stand, a command runs, a signal came."""

    handled = False
    running = False
    received: int | None = None
    said = False


def install() -> None:
    """Take over the signals that are not ignored (as ``nohup`` and a shell's ``&`` have it)."""
    _State.handled = True
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)
    sys.unraisablehook = _unraisable


@contextmanager
def handled() -> Iterator[None]:
    """The handlers for the length of a block, where they are missing and this is the main thread."""
    import threading

    if _State.handled or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    hook = sys.unraisablehook
    install()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook
        _State.handled, _State.received, _State.said = False, None, False


@contextmanager
def raised() -> Iterator[None]:
    """A block in which the first signal is raised as KeyboardInterrupt; outside it ends the program at once.

    Whatever a library made of the exception, the block ends with KeyboardInterrupt.
    """
    _State.running = True
    try:
        yield
    except Exception as error:
        if _State.received is not None:
            raise KeyboardInterrupt from error
        raise
    finally:
        _State.running = False
    if _State.received is not None:
        raise KeyboardInterrupt


def say() -> int:
    """Print the line, once. Returns the exit code."""
    if not _State.said:
        _State.said = True
        with suppress(OSError):  # after SIGHUP there may be no terminal
            os.write(2, f"{LINE}\n".encode())
    return 128 + (_State.received or signal.SIGINT)


def _handle(number: int, frame: FrameType | None) -> None:
    first = _State.received is None
    _State.received = number if first else _State.received
    if not first or not _State.running or _is_importing(frame):
        _end()
    raise KeyboardInterrupt


def _end() -> NoReturn:
    os._exit(say())


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a module is being loaded: nothing is half-written then, and libraries may lose an exception."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _unraisable(unraisable: Any) -> None:
    """A KeyboardInterrupt that Python can only print, because it was raised in a destructor, ends at once."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt) and _State.received is not None:
        _end()
    sys.__unraisablehook__(unraisable)
