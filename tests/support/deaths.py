"""A writer that dies: from a numbered change to the files of a folder on, every change fails.

What the process would still do to clean up fails too, as after ``kill -9``. It costs no process, so that a
test can die at every change there is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")


class Death(BaseException):
    """Nothing catches it."""


class _Watch:
    """Counts changes below a folder. An audit hook stays for the whole process, so there is one of these."""

    def __init__(self) -> None:
        self.prefix, self.last, self.num = "", 0, 0
        sys.addaudithook(self._heard)

    def _heard(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.prefix or event not in _EVENTS:
            return
        if not isinstance(arguments[0], (str, bytes, os.PathLike)):
            return
        if event == "open" and not int(arguments[2]) & (os.O_WRONLY | os.O_RDWR):  # type: ignore[call-overload]
            return
        if os.path.abspath(os.fsdecode(arguments[0])).startswith(self.prefix):
            self.num += 1
            if self.num >= self.last:
                raise Death


_WATCH: list[_Watch] = []


@contextmanager
def dying(folder: Path, change: int) -> Iterator[None]:
    """A block in which the ``change``-th change to files below ``folder`` (1, 2, ...) and all later ones
    fail. The block ends where the first does.
    """
    watch = _WATCH[0] if _WATCH else _Watch()
    _WATCH[:] = [watch]
    watch.num, watch.last, watch.prefix = 0, change, f"{folder}{os.sep}"
    try:
        yield
    except Death:
        pass
    finally:
        watch.prefix = ""


def survived() -> bool:
    """Whether the last block ended before its change came."""
    return _WATCH[0].num < _WATCH[0].last
