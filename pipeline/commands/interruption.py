"""How Ctrl-C, SIGTERM and SIGHUP end the program: one line, exit code 130, 143 or 129, and never a traceback.

After the first signal a running command finishes the batch that is in hand, where it makes batches, and
leaves what it writes whole, as after an error. The second signal ends the program at once, and the stores
survive this too. This module is loaded before all others, because
until then a signal has its default effect. So it imports only modules that Python itself has loaded already,
and not ``typing``.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, NoReturn

LINE = "interrupted; run the same command again to go on"
FINISHING = "finishing the images in hand first; a second signal stops at once"
STOPPED = "stopped"  # of a command that runs until it is interrupted
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class State:
    """What has happened in this process: whether the handlers stand, a command runs, a signal came; and the
    line that an interruption of the command prints, begun (``said``) or printed.
    """

    handled = False
    running = False
    received: int | None = None
    said = False
    written = False
    line = LINE


def install() -> None:
    """Handle the signals, except those that are ignored, as under ``nohup`` or after a shell's ``&``."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handle)
    sys.unraisablehook = _unraisable
    State.handled = True


def say() -> int:
    """Print the line, once. Returns the exit code."""
    if not State.said:
        State.said = True
        _write(State.line)
        State.written = True
    return 128 + (State.received or signal.SIGINT)


def finish() -> None:
    """End a process that was interrupted. In one that is done, ignore signals from now on.

    While Python shuts down, a signal would have its default action again, whatever the handler was.
    """
    if State.received is not None:
        for stream in (sys.stdout, sys.stderr):
            try:  # noqa: SIM105
                stream.flush()
            except (OSError, ValueError):  # closed, or a pipe that nobody reads
                pass
        _end()
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def handle(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt at the first signal while a command runs, after the batch that is in hand;
    else end the process.
    """
    if State.said and not State.written:
        return  # between the two statements of ``say``, which goes on with the line and ends the process
    first = State.received is None
    State.received = number if first else State.received
    if not first or not State.running or _is_importing(frame):
        _end()
    if _waits_for_a_batch():
        _write(FINISHING)
        return
    raise KeyboardInterrupt


def _waits_for_a_batch() -> bool:
    in_hand = sys.modules.get("pipeline.machine.in_hand")  # not loaded: nothing is made in batches
    return in_hand is not None and bool(in_hand.ask_to_stop())


def _write(line: str) -> None:
    try:  # noqa: SIM105  # contextlib would be loaded for it
        os.write(2, f"{line}\n".encode())
    except OSError:  # after SIGHUP there may be no terminal
        pass


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
    if isinstance(unraisable.exc_value, KeyboardInterrupt) and State.received is not None:
        _end()
    sys.__unraisablehook__(unraisable)
