"""What an earlier run has left in the folder of a translator: whether a run may go on with it, or replace it.

It knows names of files, descriptions and the log. It knows no tensors.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import UsageError, count
from pipeline.machine.json_lines import JsonLines
from pipeline.resumable.begun import (
    ABSENT,
    FINISHED,
    UNFINISHED,
    find_begun,
    first_difference,
    refuse_difference,
)
from pipeline.resumable.kind import LOG, STATE
from pipeline.translate.description import TranslatorInfo
from pipeline.translate.folder import TRANSLATOR

_IMAGES = ("source.", "target.")
# What may differ where a run goes on. A side is known by what it holds, wherever that lies.
_UNSEMANTIC = ("created", "training.epochs", "source.name", "target.name")


def check_begun(folder: Path, info: TranslatorInfo, *, overwrite: bool) -> str:
    """``absent`` (or to be overwritten), ``unfinished`` or ``finished``: what there is of the translator
    ``info``. One that has learnt fewer epochs is unfinished, and goes on.

    Raises UsageError, one line, for a folder with anything else, which says how it differs.
    """
    found = find_begun(folder, TRANSLATOR, overwrite=overwrite)
    if found is None:
        return ABSENT
    other = first_difference(found, info, _UNSEMANTIC, _IMAGES)
    if other is not None:
        refuse_difference(folder, other, _IMAGES)
    done = finished_epochs(folder)
    if done > info.epochs:
        raise UsageError(
            f"{folder}: has learnt {count(done, 'epoch')}, this run has {info.epochs}; pass --epochs {done} "
            "or more, another --out, or --overwrite to start anew"
        )
    if done == info.epochs == found.epochs:
        return FINISHED
    if done and not (folder / STATE).exists():
        raise UsageError(
            f"{folder}: has learnt {count(done, 'epoch')}, and {STATE}, from which it would go on, is not "
            "there; pass another --out, or --overwrite to start anew"
        )
    return UNFINISHED


def finished_epochs(folder: Path) -> int:
    """How many epochs the log has: it gets its line when all else of an epoch is on disk."""
    rows = JsonLines(folder / LOG).rows()
    epoch = rows[-1].get("epoch") if rows else 0
    return epoch if isinstance(epoch, int) else 0
