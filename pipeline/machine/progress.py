"""Progress of long work, on standard error: what, how far, rate, time left; silent when that is not a
terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bar:
    """One line of progress; its methods may be called from any thread."""

    def __init__(self, bars: Progress, task: TaskID) -> None:
        self._bars, self._task = bars, task

    def advance(self, count: int = 1) -> None:
        """``count`` more units are done."""
        self._bars.advance(self._task, count)

    def status(self, text: str) -> None:
        """A few words beside the bar, such as the last loss."""
        self._bars.update(self._task, status=text)


@contextmanager
def progress(description: str, total: int | None, unit: str, done: int = 0) -> Iterator[Bar]:
    """A progress line of ``total`` units, ``done`` of which an earlier run did (they count in the bar, not in
    the rate).
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """Units a second, or seconds a unit where that is the readable one."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            if not speed:
                return Text("")
            return Text(f"{speed:.3g} {unit}/s" if speed >= 1 else f"{1 / speed:.3g} s/{unit}")

    console = Console(stderr=True)
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
        console=console,
        disable=not console.is_terminal,
    )
    with bars:
        yield Bar(bars, bars.add_task(description, total=total, completed=done, status=""))
