"""What a command says of an error, and its exit code: 1 where a run failed, 2 for wrong use or bad input."""

from __future__ import annotations

import errno

from pipeline.errors import RunError, UsageError

FULL = (errno.ENOSPC, errno.EDQUOT)
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")


def explain(error: Exception) -> tuple[int, str]:
    """Exit code and one line for an error. Only an error that no code foresaw is called unexpected."""
    from fstore.errors import CorruptionError, OverflowError16, StoreError

    line = " ".join(str(error).split())
    if isinstance(error, (RunError, CorruptionError, OverflowError16)):
        return 1, line
    if isinstance(error, (UsageError, StoreError)):
        return 2, line
    if isinstance(error, OSError) and error.errno in FULL:
        return (
            1,
            f"the disk is full ({error.filename or 'while writing'}); make room, then the same command goes "
            "on from where it was",
        )
    if isinstance(error, OSError) and error.strerror:
        return 1, f"{error.filename or type(error).__name__}: {error.strerror}"
    if isinstance(error, MemoryError) or any(words in line.lower() for words in OUT_OF_MEMORY):
        return (
            1,
            f"out of memory ({line or 'host'}); use a smaller --render-batch, --tile or --batch-size, or "
            "--device cpu",
        )
    return (
        1,
        f"unexpected {type(error).__name__}: {line}; run again with --debug for the traceback, and report it",
    )
