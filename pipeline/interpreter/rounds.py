"""Keeps an interpreter that is about to be replaced: as ``interpreter.round-1`` beside ``interpreter``.

What is kept is a whole interpreter's folder, which every command takes. It knows folders and files. It does
not know why an interpreter is replaced.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from fstore.durable import force_to_disk
from pipeline.errors import UsageError
from pipeline.interpreter.description_file import load_description
from pipeline.interpreter.files import weights_file
from pipeline.interpreter.folder import DESCRIPTION, PARTIAL, WEIGHTS


def kept_interpreter(folder: Path, sha256: str) -> Path | None:
    """The folder beside ``folder`` in which the interpreter with this hash is kept, or None."""
    for _, kept in sorted(_rounds(folder).items()):
        try:
            if load_description(kept)[1] == sha256:
                return kept
        except UsageError:  # something else of that name
            continue
    return None


def keeping_folder(folder: Path) -> Path:
    """Where ``keep_interpreter`` will keep what is in ``folder``, or keeps it already."""
    kept = kept_interpreter(folder, load_description(folder)[1])
    return kept or folder.with_name(f"{folder.name}.round-{max(_rounds(folder), default=0) + 1}")


def keep_interpreter(folder: Path) -> Path:
    """Copy the finished interpreter of ``folder`` beside it. Returns the copy, which appears in one step.

    Where it is kept already, as by a run that was killed, nothing is written.
    """
    target = keeping_folder(folder)
    if target.exists():
        return target
    partial = target.with_name(f".{target.name}{PARTIAL}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        for source, name in ((weights_file(folder), WEIGHTS), (folder / DESCRIPTION, DESCRIPTION)):
            shutil.copyfile(source, partial / name)
            force_to_disk(partial / name)
        force_to_disk(partial)
        os.replace(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    force_to_disk(target.parent)
    return target


def _rounds(folder: Path) -> dict[int, Path]:
    """The folders beside ``folder`` that have a name of this kind, by their numbers."""
    pattern = re.compile(re.escape(folder.name) + r"\.round-([0-9]{1,9})")
    parent = folder.parent
    names = {entry.name: entry for entry in parent.iterdir()} if parent.is_dir() else {}
    return {int(found[1]): entry for name, entry in names.items() if (found := pattern.fullmatch(name))}
