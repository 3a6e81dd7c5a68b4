"""The two ways a command can end badly, and how their messages show a value. The commands turn them into exit
codes. Nothing here knows of any stage.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

from fstore.values import escaped

MAX_SHOWN = 60
MAX_LINE = 4000
_CREDENTIALS = re.compile(r"://[^/@\s]*@")


class UsageError(Exception):
    """Wrong use or bad input: the user can mend it and run the command again (exit code 2)."""


class RunError(Exception):
    """A run that was asked for correctly and failed all the same (exit code 1)."""


def short(value: Any) -> str:
    """A value as Python writes it, a path as its text, without a URL's credentials, in at most 60
    characters.
    """
    try:
        written = repr(str(value) if isinstance(value, PurePath) else value)
    except ValueError:  # Python writes no integer of over 4,300 digits
        written = f"a value of type {type(value).__name__} that is too long to show"
    return cut(without_credentials(written))


def without_credentials(text: str) -> str:
    """A text without what stands before the @ of a URL in it."""
    return _CREDENTIALS.sub("://...@", text)


def cut(text: str) -> str:
    """The beginning of a text, at most 60 characters."""
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def line_of(text: str) -> str:
    """A message as a terminal may be given it: one line of at most 4,000 characters, the middle left out of a
    longer one. Control characters, which could move the cursor or change colours, are shown as Python writes
    them.
    """
    line = " ".join(text.split())
    if len(line) > MAX_LINE:
        line = f"{line[: MAX_LINE * 3 // 4]} ... {line[-MAX_LINE // 5 :]}"
    return escaped(line)


def few(names: Sequence[object], num: int = 4) -> str:
    """The first ``num`` of some names, and how many more there are."""
    more = f" and {len(names) - num} more" if len(names) > num else ""
    return ", ".join(map(printable, names[:num])) + more


def printable(name: object) -> str:
    """A name as it is; as Python writes it where it would break the line that it stands in."""
    text = str(name)
    return text if text.isprintable() else short(text)


def count(number: int, noun: str) -> str:
    """A number of things in words: ``1 image``, ``2 images``, ``1,000 classes``. ``noun`` is the singular."""
    if number == 1:
        return f"1 {noun}"
    if noun.endswith(("s", "x", "tch", "nch", "sh")):
        return f"{number:,} {noun}es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{number:,} {noun[:-1]}ies"
    return f"{number:,} {noun}s"


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """A block that writes ``path``. What the system says of a write, and not of which file, names it."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
