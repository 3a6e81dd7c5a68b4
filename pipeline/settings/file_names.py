"""What a path may be: how long the name of a file, and what lies there. It opens no file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pipeline.errors import UsageError

MAX_NAME_BYTES = 255
"""Of one name in a path: what all common file systems take."""
SYSTEM_NAMES = frozenset({"lost+found", ".DS_Store"})  # which appear in a folder by themselves


def is_hidden(name: str) -> bool:
    """Whether a name begins with a dot, as ``._image_3.png``, which macOS leaves in archives beside
    ``image_3.png``: what is in it is no picture, array or annotation.
    """
    return name.startswith(".")


def check_names(path: Path | str) -> None:
    """Refuse a path with a name that no file can have. Raises UsageError."""
    for name in Path(path).parts:
        num_bytes = len(os.fsencode(name))
        if num_bytes > MAX_NAME_BYTES:
            raise UsageError(
                f"{path}: has a name of {num_bytes} bytes; expected {MAX_NAME_BYTES} at most: choose a "
                "shorter one"
            )


def check_ordinary(path: Path | str) -> None:
    """Refuse a path of a pipe, a socket or a device: who reads one may wait for ever, and a program that root
    runs would replace one by a file. Raises UsageError.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # who opens it says why it cannot be
        return
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    raise UsageError(f"{path}: is {kinds.get(stat.S_IFMT(mode), 'a device')}; expected a file or a folder")


def check_entries(folder: Path, depth: int = 2) -> None:
    """Refuse a folder to read in which a pipe, a socket or a device lies; folders in it are entered where
    ``depth`` is more than 1. Raises UsageError, and OSError where a folder cannot be read.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if depth > 1:
                    check_entries(Path(entry.path), depth - 1)
            elif not entry.is_file():
                check_ordinary(entry.path)
