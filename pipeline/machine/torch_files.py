"""Reads files of ``torch.save`` that another program may have written: plain tensors and containers only.

Nothing that a file carries is executed, and no file takes more memory than it has bytes. It knows files. It
does not know what the tensors are.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZipFile

_ZIP = b"PK"


class PackedError(ValueError):
    """A file unfolds to more than its bytes."""


def load_plain(path: Path) -> Any:
    """What a file holds, on the CPU (``weights_only=True``).

    Raises OSError where it cannot be read, PackedError, pickle.UnpicklingError where it holds more than plain
    tensors, and errors of many classes where it is damaged.
    """
    import torch

    with path.open("rb") as file:
        check_unfolded(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of old containers: nothing that the user could do
        return torch.load(path, map_location="cpu", weights_only=True)


def check_unfolded(file: BinaryIO) -> None:
    """Raise PackedError for a zip that unfolds to more than its file: torch never compresses. A small file
    could else fill the memory.

    What is no zip passes. Raises zipfile.BadZipFile where a zip is damaged.
    """
    file.seek(0)
    if file.read(len(_ZIP)) != _ZIP:  # as torch tells them
        return
    num_bytes = os.fstat(file.fileno()).st_size
    with ZipFile(file) as archive:
        unfolded = sum(entry.file_size for entry in archive.infolist())
    if unfolded > num_bytes:
        raise PackedError(
            f"the entries of the zip are larger than the file ({unfolded:,} bytes, expected {num_bytes:,} at "
            "most): torch.save never compresses; save it anew with torch.save"
        )


def wrong_checksum(file: BinaryIO) -> str | None:
    """The entry of a zip whose checksum is wrong: torch writes checksums, and does not read them.

    Raises as `check_unfolded`, which comes first.
    """
    check_unfolded(file)
    with ZipFile(file) as archive:
        return archive.testzip()
