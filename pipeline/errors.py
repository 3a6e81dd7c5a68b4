"""The two ways a command can end badly, which ``pipeline.cli`` turns into exit codes, and how their messages
show a value. Nothing here knows of any stage.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

MAX_SHOWN = 60


class UsageError(Exception):
    """Wrong use or bad input: the user can mend it and run the command again (exit code 2)."""


class RunError(Exception):
    """A run that was asked for correctly and failed all the same (exit code 1)."""


def short(value: Any) -> str:
    """A value as Python writes it, a path as its text, in at most 60 characters."""
    return cut(repr(str(value) if isinstance(value, PurePath) else value))


def cut(text: str) -> str:
    """The beginning of a text, at most 60 characters."""
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def count(number: int, noun: str) -> str:
    """A number of things in words: ``1 image``, ``2 images``, ``1,000 classes``. ``noun`` is the singular."""
    if number == 1:
        return f"1 {noun}"
    if noun.endswith(("s", "x", "tch", "nch", "sh")):
        return f"{number:,} {noun}es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{number:,} {noun[:-1]}ies"
    return f"{number:,} {noun}s"
