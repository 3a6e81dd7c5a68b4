"""What an earlier run has left in the folder of a segmenter: whether a run may go on with it, or replace it.

It knows names of files and descriptions. It knows no tensors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from fstore.compare import differences
from fstore.lock import FolderLock
from pipeline.errors import UsageError, count, few, short
from pipeline.interpreter.folder import PARTIAL, check_place
from pipeline.segment.description import SegmenterInfo
from pipeline.segment.folder import DESCRIPTION, LOG, STATE, epoch_files, epoch_of, read_description

ABSENT, UNFINISHED, FINISHED = "absent", "unfinished", "finished"
_UNSEMANTIC = ("created", "training.pretrained.name")  # what may differ where a run goes on
_PLACES = ("data.synthetic.store", "data.real.images", "data.real.annotations")


def check_begun(folder: Path, info: SegmenterInfo, *, overwrite: bool) -> str:
    """``absent`` (or to be overwritten), ``unfinished`` or ``finished``: what there is of the segmenter
    ``info``.

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
    if found is None:
        return ABSENT
    _check_same(folder, found, info)
    whole = set(epoch_files(folder)) == set(range(info.epochs))
    return FINISHED if whole and not (folder / STATE).exists() else UNFINISHED


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder without a description that holds what this program does not delete."""
    if epoch_files(folder):
        raise UsageError(
            f"{folder}: holds weights without {DESCRIPTION}, as the released code writes them; choose "
            "another --out, or move them"
        )
    strangers = sorted(
        entry.name for entry in folder.iterdir() if not _is_ours(entry) and not entry.name.startswith(".")
    )
    if strangers:
        raise UsageError(
            f"{folder}: exists and is no segmenter's folder (it holds {few(strangers)}); choose another "
            "--out, or empty it"
        )


def _check_same(folder: Path, found: SegmenterInfo, asked: SegmenterInfo) -> None:
    """Refuse to go on with a segmenter of other settings or images. Raises UsageError naming a difference."""
    ignored = (*_UNSEMANTIC, *_PLACES)
    others = differences(found.to_json(), asked.to_json(), ignored)
    if not others:
        return
    others.sort(key=lambda other: other[0].startswith("data."))  # a setting says more than a digest
    key, left, right = others[0]
    name = key.removeprefix("training.")
    if key == "training.epochs":
        weights = list(epoch_files(folder).values())[-1:]
        begin = f", or another --out with --pretrained {weights[0]}" if weights else ""
        raise UsageError(
            f"{folder}: is a training of {count(left, 'epoch')}, this run has {right}, and what a training "
            f"needs to go on is deleted at its end; use the same --epochs, --overwrite to start anew{begin}"
        )
    what = "learns from other images" if key.startswith("data.") else "was begun with other settings"
    raise UsageError(
        f"{folder}: {what}: {name} is {short(left)} there and {short(right)} in this run; use the same, "
        "another --out, or --overwrite to start anew"
    )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """A block during which nobody else trains into the folder, which is made. One that stays empty is
    deleted.
    """
    made = not folder.is_dir()
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        if made:
            stack.callback(_remove_empty, folder)
        stack.callback(FolderLock(folder).release)
        yield


def clear(folder: Path) -> None:
    """Delete the files of a segmenter, and no others; the description last, which says whose the rest is."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name == DESCRIPTION):
        if _is_ours(entry):
            entry.unlink()


def used_bytes(folder: Path) -> int:
    """Bytes of the files that ``clear`` would delete."""
    return (
        sum(entry.stat().st_size for entry in folder.iterdir() if _is_ours(entry)) if folder.is_dir() else 0
    )


def _is_ours(entry: Path) -> bool:
    name = entry.name.removesuffix(PARTIAL)
    return entry.is_file() and (name in (DESCRIPTION, LOG, STATE) or epoch_of(name) is not None)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
