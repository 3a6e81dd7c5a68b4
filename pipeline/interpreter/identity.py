"""Checks that an interpreter's folder still holds what was loaded from it.

It knows folders and their hashes. It does not know what is done with an interpreter.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import RunError, UsageError
from pipeline.interpreter.files import load_interpreter
from pipeline.interpreter.released import is_released, read_members


def check_unchanged(folder: Path, sha256: str) -> None:
    """Raise RunError where ``folder`` no longer holds the interpreter with this ``sha256``.

    A program that records the hash of an interpreter beside its results calls this before it saves them:
    ``dgan train --overwrite`` may have replaced the folder meanwhile.
    """
    try:
        found = (read_members(folder) if is_released(folder) else load_interpreter(folder)).sha256
    except (UsageError, OSError) as error:
        reason = str(error).removeprefix(f"{folder}: ")
    else:
        reason = f"its sha256 begins {found[:12]}, expected {sha256[:12]}"
        if found == sha256:
            return
    raise RunError(
        f"{folder}: is no longer the interpreter that this run has loaded ({reason}); put that one back and "
        "run the same command, or use --overwrite to start anew with the one that is there"
    )
