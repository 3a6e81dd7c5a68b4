"""Reading one array of a ``.npz`` archive that somebody else wrote: no pickles, no surprise allocations.

Knows zip archives of ``.npy`` members. Knows nothing of what the arrays mean.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from pipeline.errors import UsageError

MAX_ARRAY_BYTES = 2**31
"""A member that declares more is refused: 10,000 W+ latents of 18 x 512 in float64 are a third of it."""


def read_npz(
    path: Path, what: str, choose: Callable[[list[str]], str | None]
) -> tuple[str, np.ndarray[Any, Any]]:
    """The array that ``choose`` picks from the archive's names, and its name.

    ``what`` names it in errors ("latents"); ``choose`` returns None where it cannot decide. Raises
    UsageError, one line, naming the file.
    """
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise UsageError(f"{path}: {found}; expected {what} in a .npz file")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            name = choose(list(members))
            if name is None:
                shown = ", ".join(repr(member) for member in list(members)[:8]) or "none"
                raise UsageError(
                    f"{path}: holds {len(members)} arrays ({shown}), and which are {what} is not clear; "
                    "save that one alone with numpy.save"
                )
            with archive.open(members[name]) as stream:
                return name, _read_member(stream, members[name].file_size)
    except UsageError:
        raise
    except Exception as error:  # damage raises BadZipFile, zlib.error, EOFError, ValueError, KeyError, ...
        found = "holds Python objects" if "objects" in str(error) else "is not a .npz file, or is truncated"
        if isinstance(error, MemoryError):
            found = f"declares an array of over {MAX_ARRAY_BYTES} bytes"
        raise UsageError(f"{path}: {found}; expected {what} as saved by numpy.savez") from error


def _read_member(stream: IO[bytes], num_bytes: int) -> np.ndarray[Any, Any]:
    """A whole ``.npy`` of ``num_bytes``; its header must promise no more than these hold."""
    version = np.lib.format.read_magic(stream)
    read_header = (
        np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    )
    shape, fortran_order, dtype = read_header(stream)
    if dtype.hasobject:
        raise ValueError("Python objects")
    count = math.prod(shape)
    if count < 0 or count * dtype.itemsize > num_bytes:
        raise ValueError("the array is longer than the archive says")
    if count * dtype.itemsize > MAX_ARRAY_BYTES:
        raise MemoryError
    content = stream.read(count * dtype.itemsize)
    flat = np.frombuffer(content, dtype=dtype, count=count)
    return flat.reshape(shape, order="F" if fortran_order else "C")
