"""Shows the progress of long work on standard error: what it is, how far, how fast, and the time left.

A terminal and a notebook show one line that changes. Elsewhere, such as in a log file, a plain line is
written now and then: every 30 seconds, and later at every tenth of the time that has passed. It knows units,
not what they are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic

from pipeline.machine.notebook import changing_line

PLAIN_SECONDS = 30
NOTEBOOK_SECONDS = 0.25
WIDTH = 80  # columns of a plain line, and most of a terminal's
LONGEST_BAR, SHORTEST_BAR = 20, 8


@dataclass
class Work:
    """How far some work is. ``total`` units, or None where nobody knows; ``done`` of them at the start."""

    text: str
    total: int | None
    unit: str
    done: int
    start: float
    """Seconds of the clock."""
    is_exact: bool = True
    """Whether the work ends at ``total``, so that a time left is true."""
    status: str = ""
    first: int = field(init=False)

    def __post_init__(self) -> None:
        self.first = self.done

    def line(self, now: float, width: int = WIDTH, *, with_bar: bool = False) -> str:
        """One line of at most ``width`` characters. The bar has the room that the words leave."""
        fields = ", ".join([self._counted(), *self._speed(now)])
        widest = max(len(fields), self._widest())  # so that nothing comes and goes as the numbers grow
        for part in self.status.split(", ") if self.status else ():
            if len(self.text) + 2 + widest + 2 + len(part) > width:
                break
            fields, widest = f"{fields}, {part}", widest + 2 + len(part)
        room = width - len(self.text) - widest - 4
        if with_bar and self.total and room >= SHORTEST_BAR:
            return f"{self.text} {_bar(self.done / self.total, min(room, LONGEST_BAR))} {fields}"
        return f"{self.text}: {fields}"[:width]

    def _widest(self) -> int:
        """Characters of count, rate and time left, when they are at their longest."""
        if self.total is None:
            return 0
        rate, left = len("12.3 /s") + len(self.unit), len(", 0:00:00 left") if self.is_exact else 0
        return len(f"{self.total:,}/{self.total:,} {self.unit}, ") + rate + left

    def _counted(self) -> str:
        of_all = "" if self.total is None else f"/{self.total:,}"
        return f"{self.done:,}{of_all} {self.unit}"

    def _speed(self, now: float) -> list[str]:
        """Units a second, or seconds a unit where that reads better; and the time left."""
        seconds, here = now - self.start, self.done - self.first
        if here <= 0 or seconds <= 0:
            return []
        speed, one = here / seconds, self.unit.removesuffix("s")
        written = f"{speed:.3g}"
        unit = one if written == "1" else self.unit
        parts = [f"{written} {unit}/s" if speed >= 1 else f"{1 / speed:.3g} s/{one}"]
        if self.is_exact and self.total is not None and self.done < self.total:
            parts.append(f"{_clock((self.total - self.done) / speed)} left")
        return parts


class Bar:
    """What the work tells of itself; its methods may be called from any thread."""

    def __init__(self, work: Work, show: Callable[[Work], None]) -> None:
        self._work, self._show = work, show
        self._lock = Lock()

    def advance(self, count: int = 1) -> None:
        """``count`` more units are done."""
        with self._lock:
            self._work.done += count
            self._show(self._work)

    def status(self, text: str) -> None:
        """A few words at the end of the line, such as the last loss; parts after a comma may be left out."""
        with self._lock:
            self._work.status = text
            self._show(self._work)

    def begin(self, text: str, total: int | None = None) -> None:
        """A part of the work begins, such as an epoch.

        ``total`` units of its own are counted from 0, for work whose end is not known beforehand: no time is
        shown as left. None: the units go on counting towards those of the whole.
        """
        with self._lock:
            work = self._work
            work.text = text
            if total is not None:
                work.total, work.done, work.first = total, 0, 0
                work.start, work.is_exact = monotonic(), False
            self._show(work)


_HIDDEN = ContextVar("hidden progress", default=False)


@contextmanager
def progress_hidden() -> Iterator[None]:
    """A block of one thread whose work shows nothing of its progress."""
    before = _HIDDEN.set(True)
    try:
        yield
    finally:
        _HIDDEN.reset(before)


@contextmanager
def progress(description: str, total: int | None, unit: str, done: int = 0) -> Iterator[Bar]:
    """Show the progress of ``total`` units, ``done`` of which an earlier run did: they count in the bar and
    not in the rate. ``unit`` is a plural.
    """
    work = Work(description, total, unit, done, monotonic())
    with _shown(work) as bar:
        yield bar


def _shown(work: Work) -> AbstractContextManager[Bar]:
    """The bar that shows the work where this process can show it best."""
    if _HIDDEN.get():
        return nullcontext(Bar(work, lambda _: None))
    show = changing_line()
    if show is not None:
        return _notebook_line(work, show)
    if sys.stderr is None:  # a program without a window, or an embedded interpreter
        return nullcontext(Bar(work, lambda _: None))
    if not sys.stderr.isatty() or os.environ.get("TERM") in ("dumb", "unknown"):
        return nullcontext(Bar(work, _PlainLines(work.start)))
    return _terminal_line(work)


@contextmanager
def _terminal_line(work: Work) -> Iterator[Bar]:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn, Task
    from rich.text import Text

    class Line(ProgressColumn):
        """The line, which knows the terminal's width: columns of the library's own run over it."""

        def render(self, task: Task) -> Text:
            return Text(work.line(monotonic(), console.width - 1, with_bar=True), no_wrap=True)

    console = Console(stderr=True)
    with Progress(Line(), console=console) as display:
        display.add_task("", total=None)
        yield Bar(work, lambda _: None)


@contextmanager
def _notebook_line(work: Work, show: Callable[[str], None]) -> Iterator[Bar]:
    """The line at the start, at most four times a second, and at the end, also after an error."""
    last = monotonic()

    def written() -> str:
        return work.line(monotonic(), with_bar=True)

    def show_now_and_then(_: Work) -> None:
        nonlocal last
        if monotonic() - last >= NOTEBOOK_SECONDS:
            last = monotonic()
            show(written())

    show(written())
    try:
        yield Bar(work, show_now_and_then)
    finally:
        show(written())


class _PlainLines:
    """Writes a line where it is time for one. A class, because it keeps when that was last so."""

    def __init__(self, start: float) -> None:
        self._start = self._last = start

    def __call__(self, work: Work) -> None:
        now = monotonic()
        if now - self._last < max(PLAIN_SECONDS, (now - self._start) / 10):
            return
        self._last = now
        with suppress(OSError):  # of a terminal that was closed; the work goes on without it
            print(work.line(now), file=sys.stderr, flush=True)


def _bar(share: float, length: int) -> str:
    filled = round(min(share, 1.0) * length)
    return "[" + "#" * filled + "-" * (length - filled) + "]"


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{second:02}"
