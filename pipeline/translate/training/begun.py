"""What an earlier run has left in the folder of a translator: whether a run may go on with it, or replace it.

It knows names of files, descriptions and the log. It knows no tensors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from fstore.compare import differences
from pipeline.errors import UsageError, count, few, short
from pipeline.interpreter.folder import PARTIAL, check_place
from pipeline.machine.json_lines import JsonLines
from pipeline.translate.description import TranslatorInfo
from pipeline.translate.folder import (
    CURVES,
    DESCRIPTION,
    GENERATORS,
    LOG,
    SAMPLES,
    STATE,
    read_description,
)
from pipeline.translate.training.sheets import LATEST

ABSENT, UNFINISHED, FINISHED = "absent", "unfinished", "finished"
_OURS = (DESCRIPTION, GENERATORS, LOG, CURVES, STATE)
_LEARNT = (GENERATORS, STATE, LOG)
_SHEET = re.compile(r"epoch_[0-9]{5,}\.png")
# What may differ where a run goes on. A side is known by what it holds, wherever that lies.
_UNSEMANTIC = ("created", "training.epochs", "source.name", "target.name")


def check_begun(folder: Path, info: TranslatorInfo, *, overwrite: bool) -> str:
    """``absent`` (or to be overwritten), ``unfinished`` or ``finished``: what there is of the translator
    ``info``. One that has learnt fewer epochs is unfinished, and goes on. One that has learnt nothing, of
    these settings and images or others, is absent.

    Raises UsageError, one line, for a folder with anything else, which says how it differs.
    """
    check_place(folder)
    if not folder.is_dir():
        return ABSENT
    found = None
    if (folder / DESCRIPTION).exists():
        found = None if overwrite else read_description(folder)
    else:
        _refuse_foreign(folder)
    if found is None or not any((folder / name).exists() for name in _LEARNT):
        return ABSENT  # a run that a broken picture ended at once shall not forbid the mended folder
    _check_same(folder, found, info)
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


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder without a description that holds what this program does not delete."""
    strangers = sorted(
        entry.name for entry in folder.iterdir() if not _is_ours(entry) and not entry.name.startswith(".")
    )
    if strangers:
        raise UsageError(
            f"{folder}: exists and is no translator's folder (it holds {few(strangers)}); choose another "
            "--out, or empty it"
        )


def _check_same(folder: Path, found: TranslatorInfo, asked: TranslatorInfo) -> None:
    """Refuse to go on with other settings or images. Raises UsageError naming a difference."""
    others = differences(found.to_json(), asked.to_json(), _UNSEMANTIC)
    if not others:
        return
    others.sort(key=lambda other: other[0].startswith(("source.", "target.")))  # a setting says more
    key, left, right = others[0]
    what = (
        "learns from other images"
        if key.startswith(("source.", "target."))
        else "was begun with other settings"
    )
    raise UsageError(
        f"{folder}: {what}: {key.removeprefix('training.')} is {short(left)} there and {short(right)} in "
        "this run; use the same, another --out, or --overwrite to start anew"
    )


def clear(folder: Path) -> None:
    """Delete the files of a translator, and no others; the description last, which says whose the rest is."""
    for entry in sorted(_own_files(folder), key=lambda entry: entry.name == DESCRIPTION):
        entry.unlink()
    with suppress(OSError):
        (folder / SAMPLES).rmdir()


def used_bytes(folder: Path) -> int:
    """Bytes of the files that ``clear`` would delete."""
    return sum(entry.stat().st_size for entry in _own_files(folder))


def _own_files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    for entry in list(folder.iterdir()):
        if entry.is_file() and entry.name.removesuffix(PARTIAL) in _OURS:
            yield entry
    samples = folder / SAMPLES
    yield from (
        [] if not samples.is_dir() else [sheet for sheet in list(samples.iterdir()) if _is_sheet(sheet)]
    )


def _is_ours(entry: Path) -> bool:
    if entry.name == SAMPLES and entry.is_dir():
        return all(map(_is_sheet, entry.iterdir()))
    return entry.is_file() and entry.name.removesuffix(PARTIAL) in _OURS


def _is_sheet(entry: Path) -> bool:
    name = entry.name.removesuffix(PARTIAL)
    return entry.is_file() and (name == LATEST or _SHEET.fullmatch(name) is not None)
