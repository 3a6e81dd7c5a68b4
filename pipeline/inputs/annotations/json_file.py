"""Reads JSON that other programs wrote. Sizes are bounded, and every fault is one line that names the file.

It does not know what the values mean.
"""

from __future__ import annotations

import json
from pathlib import Path
from stat import S_ISREG
from typing import Any

from pipeline.errors import UsageError, short

MAX_BYTES = 2**28


def read_json(path: Path, what: str) -> Any:
    """The value in ``path``; ``what`` names it in messages. Raises UsageError, one line."""
    try:
        found = path.stat()
        size = found.st_size
        if not S_ISREG(found.st_mode):  # a device has no end, and a pipe may never begin
            raise UsageError(f"{path}: is no plain file; expected {what}")
        if size > MAX_BYTES:
            raise UsageError(f"{path}: is {size} bytes; expected {what} of at most {MAX_BYTES}")
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"{path}: cannot be read as JSON, or is truncated ({reason}); expected {what}"
        ) from error


def objects(value: Any, where: str) -> list[dict[str, Any]]:
    """``value`` as a list of JSON objects. Raises UsageError naming ``where``."""
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise UsageError(f"{where} is {describe(value)}; expected a list of objects")
    return value


def describe(value: Any) -> str:
    """A value, or what kind of thing it is, in at most 60 characters."""
    if isinstance(value, (list, dict)):
        return f"a {'list' if isinstance(value, list) else 'table'} of {len(value)} entries"
    return short(value)
