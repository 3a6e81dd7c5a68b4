"""How long the name of a file may be. It opens no file."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.errors import UsageError

MAX_NAME_BYTES = 255
"""Of one name in a path: what all common file systems take."""


def check_names(path: Path | str) -> None:
    """Refuse a path with a name that no file can have. Raises UsageError."""
    for name in Path(path).parts:
        num_bytes = len(os.fsencode(name))
        if num_bytes > MAX_NAME_BYTES:
            raise UsageError(
                f"{path}: has a name of {num_bytes} bytes; expected {MAX_NAME_BYTES} at most: choose a "
                "shorter one"
            )
