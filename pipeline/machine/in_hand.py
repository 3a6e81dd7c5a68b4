"""Lets a batch that is in hand be finished when a signal asks the program to stop.

A stage opens a block around its batches. Who handles signals asks here whether to wait for the end of one.
This module knows no signals. It imports nothing slow, because it is asked while a signal is handled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class _State:
    is_open = False
    is_asked = False


@contextmanager
def batches_finished(settle: Callable[[], None] = lambda: None) -> Iterator[Callable[[], None]]:
    """A block of the main thread whose batches are finished before the program stops.

    The block calls what it is given between two batches: KeyboardInterrupt is raised there where somebody has
    asked to stop. ``settle`` is called before, and at the end of the block: it waits until what is made is
    written.
    """

    def between() -> None:
        if _State.is_asked:
            settle()
            _stop()

    _State.is_open, _State.is_asked = True, False
    try:
        yield between
        settle()
    finally:
        _State.is_open = False
    if _State.is_asked:
        _stop()


def until_asked(batches: Iterable[T]) -> Iterator[T]:
    """The batches, until somebody asks to stop: for a block that has several in hand, and finishes them all.

    KeyboardInterrupt is raised at the end of the block then.
    """
    for batch in batches:
        if _State.is_asked:
            return
        yield batch


def ask_to_stop() -> bool:
    """Whether a block is open, which ends after the batch in hand. Else the caller has to end the work."""
    _State.is_asked = _State.is_open
    return _State.is_open


def _stop() -> None:
    _State.is_asked = False
    raise KeyboardInterrupt
