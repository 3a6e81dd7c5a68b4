"""Reads the small text files that people write: bounded, in UTF-8, as TOML where they are tables.

Every fault is a UsageError of one line that names the file. It does not know what a file means, and it
imports nothing heavy: ``--help`` loads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError, short

MAX_FILE_BYTES = 2**24


def read_text(path: Path, what: str) -> str:
    """The text of a file; ``what`` names it in messages. Raises UsageError."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(
                f"{path}: is {path.stat().st_size} bytes; expected {what}, at most {MAX_FILE_BYTES}"
            )
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:
        fault = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else "bad path"
        reason = getattr(error, "strerror", None) or fault
        raise UsageError(f"{path}: cannot be read ({reason}); expected {what}") from error


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The tables of a TOML file; ``what`` names it in messages. Raises UsageError."""
    import tomllib

    try:
        return tomllib.loads(read_text(path, what).replace("\r\n", "\n"))
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{path}: cannot be read as TOML ({reason}); expected {what}") from error


def refuse_unknown(keys: Iterable[str], known: Sequence[str], what: str) -> None:
    """Raise UsageError for a key that is not ``known``. The message is ``what``, the key, and the known key
    that is nearest to it.
    """
    import difflib

    for key in keys:
        if key not in known:
            nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
            raise UsageError(f"{what} {short(key)}; the nearest known one is {nearest!r}")
