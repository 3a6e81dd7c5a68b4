"""Files of `torch.save`, written whole or not at all, and read with their checksums.

It knows files. It does not know what the tensors are.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch

from pipeline.interpreter.folder import replace_file
from pipeline.machine.torch_files import wrong_checksum


def save_whole(path: Path, document: Mapping[str, Any]) -> None:
    """Write ``document`` of tensors and plain values. Equal values give equal bytes.

    Raises OSError where the disk is full.
    """
    replace_file(path, partial(_write, document))


def load_whole(path: Path, most_bytes: int) -> Any:
    """What such a file holds, on the CPU. Nothing in it is executed.

    ``most_bytes``: of the file. Raises OSError where it cannot be read, and ValueError where it is damaged.
    """
    return load_hashed(path, most_bytes)[0]


def load_hashed(path: Path, most_bytes: int) -> tuple[Any, str]:
    """What such a file holds, as `load_whole`, and the SHA-256 of the bytes that were loaded.

    Both are of one file, also where another one is put in its place meanwhile.
    """
    if path.exists() and not path.is_dir() and not path.is_file():  # to open a pipe would wait for ever
        raise ValueError("it is no regular file")
    with path.open("rb") as file:
        num_bytes = os.fstat(file.fileno()).st_size
        if num_bytes > most_bytes:
            raise ValueError(f"it has {num_bytes:,} bytes, expected {most_bytes:,} at most")
        try:
            _check_whole(file)
            file.seek(0)
            content = torch.load(file, map_location="cpu", weights_only=True)
            file.seek(0)
            return content, hashlib.file_digest(file, "sha256").hexdigest()
        except (OSError, MemoryError):
            raise
        except Exception as error:  # damaged bytes fail in the libraries in many ways, all of one meaning
            raise ValueError(str(error)) from None


def _check_whole(file: BinaryIO) -> None:
    """ValueError for a zip that unfolds to more than its file, or whose checksums are wrong."""
    wrong = wrong_checksum(file)
    if wrong is not None:
        raise ValueError(f"the checksum of {wrong} is wrong")


def _write(document: Mapping[str, Any], path: Path) -> None:
    try:
        with path.open("wb") as file:  # given the path, torch would name the file in it, and hide the reason
            torch.save(dict(document), file)
    except RuntimeError as error:
        reason = error.__context__
        if isinstance(reason, OSError):
            raise OSError(reason.errno, reason.strerror, str(path)) from error
        raise
