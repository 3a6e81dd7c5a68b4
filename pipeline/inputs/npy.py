"""Reading a ``.npy`` file that somebody else wrote: no pickles, no surprise allocations, one-line errors.

Knows nothing of what the array means.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UsageError


def read_npy(path: Path, what: str) -> np.ndarray[Any, Any]:
    """The array in ``path``, read-only, mapped from the file once its header fits the file's length.

    ``what`` names it in errors ("latents"). Raises UsageError, one line, naming the file.
    """
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise UsageError(f"{path}: {found}; expected {what} in a .npy file")
    try:
        if path.stat().st_size == 0:
            raise ValueError("the file is empty")
        array = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error}); expected {what}") from error
    except (
        Exception
    ) as error:  # a damaged header can raise nearly anything: ValueError, SyntaxError, TypeError, ...
        found = "holds Python objects" if "objects" in str(error) else "is not a .npy file, or is truncated"
        raise UsageError(
            f"{path}: {found}; expected {what} as saved by numpy.save with a plain dtype"
        ) from error
    return array
