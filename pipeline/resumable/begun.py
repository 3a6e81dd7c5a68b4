"""What an earlier run has left in a folder: whether a run may go on with it, or replace it.

It knows names of files and descriptions. It knows no tensors, and not when a training is finished.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from fstore.compare import differences
from fstore.lock import FolderLock
from pipeline.errors import UsageError, few, short
from pipeline.interpreter.folder import PARTIAL, check_place
from pipeline.resumable.kind import Description, Info, Kind
from pipeline.settings.file_names import is_hidden

ABSENT, UNFINISHED, FINISHED = "absent", "unfinished", "finished"


class Difference(NamedTuple):
    """A key of two descriptions, and its values there and in this run."""

    key: str
    there: Any
    here: Any


def find_begun(folder: Path, kind: Kind[Info], *, overwrite: bool) -> Info | None:
    """The description of what has begun in the folder; None where nothing has, or it is to be overwritten.

    A description alone is nothing: a run that a broken picture has ended at once shall not forbid one of the
    mended pictures.

    Raises UsageError, one line, for a folder with anything else.
    """
    check_place(folder)
    if not folder.is_dir():
        return None
    if (folder / kind.description).exists():
        found = None if overwrite else kind.read_description(folder)
        return found if any(_is_learnt(file, kind) for file in kind.own_files(folder)) else None
    strangers = sorted(
        entry.name for entry in folder.iterdir() if not kind.is_own(entry) and not is_hidden(entry.name)
    )
    if strangers:
        raise UsageError(
            f"{folder}: exists and is no {kind.name}'s folder (it holds {few(strangers)}); choose another "
            "--out, or empty it"
        )
    return None


def _is_learnt(file: Path, kind: Kind[Any]) -> bool:
    """Whether a file holds something of a training, not only what it was to be, nor a part of a file."""
    return file.name != kind.description and file.suffix != PARTIAL


def first_difference(
    found: Description, asked: Description, ignored: tuple[str, ...], of_images: tuple[str, ...]
) -> Difference | None:
    """The difference that says most of two descriptions, but for the keys ``ignored``; None where they are
    equal. Those whose keys begin with one of ``of_images`` come last: a setting says more than a digest.
    """
    others = differences(found.to_json(), asked.to_json(), ignored)
    others.sort(key=lambda other: other[0].startswith(of_images))
    return Difference(*others[0]) if others else None


def refuse_difference(folder: Path, other: Difference, of_images: tuple[str, ...]) -> None:
    """Raise UsageError: what is in the folder has other settings or images."""
    what = "learns from other images" if other.key.startswith(of_images) else "was begun with other settings"
    raise UsageError(
        f"{folder}: {what}: {other.key.removeprefix('training.')} is {short(other.there)} there and "
        f"{short(other.here)} in this run; use the same, another --out, or --overwrite to start anew"
    )


def clear(folder: Path, kind: Kind[Any]) -> None:
    """Delete what training writes, and nothing else; the description last, which says whose the rest is."""
    for file in list(kind.own_files(folder)):
        file.unlink()
    for name in kind.folders:
        with suppress(OSError):
            (folder / name).rmdir()


def used_bytes(folder: Path, kind: Kind[Any]) -> int:
    """Bytes of the files that ``clear`` would delete."""
    return sum(file.stat().st_size for file in kind.own_files(folder))


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


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
