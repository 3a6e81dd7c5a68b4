"""Files of `torch.save`, written whole or not at all, and read with their checksums.

It knows files. It does not know what the tensors are.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch

from pipeline.interpreter.folder import replace_file


def save_whole(path: Path, document: Mapping[str, Any]) -> None:
    """Write ``document`` of tensors and plain values. Equal values give equal bytes.

    Raises OSError where the disk is full.
    """
    replace_file(path, partial(_write, document))


def load_whole(path: Path, most_bytes: int) -> Any:
    """What such a file holds, on the CPU. Nothing in it is executed.

    ``most_bytes``: of the file. Raises OSError where it cannot be read, and ValueError where it is damaged.
    """
    num_bytes = path.stat().st_size
    if num_bytes > most_bytes:
        raise ValueError(f"it has {num_bytes:,} bytes, expected {most_bytes:,} at most")
    try:
        with ZipFile(path) as file:
            wrong = file.testzip()  # torch writes the checksums of what it saves, and does not read them
        if wrong is not None:
            raise ValueError(f"the checksum of {wrong} is wrong")
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # damaged bytes fail in the libraries in many ways, all of the same meaning
        raise ValueError(str(error)) from None


def _write(document: Mapping[str, Any], path: Path) -> None:
    try:
        with path.open("wb") as file:  # given the path, torch would name the file in it, and hide the reason
            torch.save(dict(document), file)
    except RuntimeError as error:
        reason = error.__context__
        if isinstance(reason, OSError):
            raise OSError(reason.errno, reason.strerror, str(path)) from error
        raise
