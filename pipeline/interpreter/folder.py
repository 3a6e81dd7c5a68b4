"""The folder of an interpreter: the names of its files, its state, and what cannot be such a folder.

    interpreter/
        interpreter.safetensors      the members' tensors and, where known, the average latent
        interpreter.json             what was learnt from what; written last, it marks the folder as whole
        training_state.safetensors   only until training is finished: the last completed epoch
        training_subspace.safetensors  with it: the axes on which the members learn, if not all channels
    training_share_0-5.safetensors   only within an epoch that several workers do: members 0 to 4 after it
        interpreter.next.safetensors only for a moment: the tensors that interpreter.json names already, until
                                     they have taken the place of the old ones

Each file is written under a temporary name, forced to disk and renamed. This module does not know what the
files hold.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fstore.durable import force_to_disk
from pipeline.errors import UsageError, naming, short
from pipeline.settings.file_names import MAX_NAME_BYTES, is_hidden

WEIGHTS = "interpreter.safetensors"
NEXT_WEIGHTS = "interpreter.next.safetensors"
DESCRIPTION = "interpreter.json"
STATE = "training_state.safetensors"
SUBSPACE = "training_subspace.safetensors"
PARTIAL = ".partial"
_OURS = {
    name + suffix
    for name in (WEIGHTS, NEXT_WEIGHTS, DESCRIPTION, STATE, SUBSPACE)
    for suffix in ("", PARTIAL)
}
_SHARE = re.compile(r"training_share_[0-9]+-[0-9]+\.safetensors")
_LEFT = re.compile(r"\.tmp[0-9A-Za-z]{6}")  # what older versions left where they were killed in a write
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")  # a path keeps one of a URL's two slashes


def check_place(folder: Path) -> None:
    """Refuse a place that can be no folder on this machine. Raises UsageError, which says what is there."""
    url = _URL.match(str(folder))
    if url is not None:
        raise UsageError(
            f"{folder}: is a URL ({url[1]}://); an interpreter lies in a folder of this machine: give one"
        )
    for place in (folder, *folder.parents):
        if place.is_symlink() and not place.exists():
            raise UsageError(
                f"{place}: is a link to {place.readlink()}, which does not exist; mend the link, or choose "
                "another folder"
            )
        if place.exists() and not place.is_dir():
            raise UsageError(f"{place}: is a file, expected a folder; choose another")


def check_writable(folder: Path) -> None:
    """Refuse a folder into which this user may not write, or which this user may not create.

    Raises UsageError.
    """
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"{place}: may not be written to; change its permissions, or choose another --out")


def folder_state(folder: Path) -> str:
    """``absent`` (or without anything useful), ``unfinished``, ``finished``, or ``foreign`` (other files)."""
    if not folder.exists():
        return "absent"
    if not folder.is_dir():
        return "foreign"
    if (folder / DESCRIPTION).exists():
        return "finished"
    if (folder / STATE).exists():
        return "unfinished"
    strangers = [e for e in folder.iterdir() if not _is_ours(e.name) and not is_hidden(e.name)]
    return "foreign" if strangers else "absent"


def foreign_names(folder: Path) -> list[str]:
    """Names of what is in the folder, and is not of an interpreter."""
    return sorted(entry.name for entry in folder.iterdir() if not _is_of_interpreter(entry))


def used_bytes(folder: Path) -> int:
    """Bytes of the files that ``remove_interpreter`` would delete."""
    return sum((folder / name).stat().st_size for name in _own_names(folder) if (folder / name).is_file())


def remove_interpreter(folder: Path) -> None:
    """Delete an interpreter's files, the description first: what a crash leaves does not look whole."""
    if (folder / DESCRIPTION).exists():
        (folder / DESCRIPTION).unlink()
        force_to_disk(folder)
    for name in (STATE, WEIGHTS, NEXT_WEIGHTS, *_own_names(folder)):
        (folder / name).unlink(missing_ok=True)


def remove_state(folder: Path) -> None:
    """Delete the state of training, and temporary files."""
    for name in _own_names(folder):
        if name not in (WEIGHTS, NEXT_WEIGHTS, DESCRIPTION):
            (folder / name).unlink(missing_ok=True)


def share_name(members: range) -> str:
    """The file of these members after an epoch that several workers do."""
    return f"training_share_{members.start}-{members.stop}.safetensors"


def remove_shares(folder: Path) -> None:
    """Delete what the workers of an epoch have left."""
    for name in _own_names(folder):
        if _SHARE.match(name):
            (folder / name).unlink(missing_ok=True)


def _is_ours(name: str) -> bool:
    return name in _OURS or _SHARE.fullmatch(name.removesuffix(PARTIAL)) is not None


def is_left(entry: Path) -> bool:
    """Whether an entry of a folder is part of a file of tensors, which an older version left there. Its
    library wrote each under a name that it drew at random, and renamed it.
    """
    return _LEFT.fullmatch(entry.name) is not None and entry.is_file() and not entry.is_symlink()


def _own_names(folder: Path) -> list[str]:
    """Names of the interpreter's files that are there, those that a kill has left too."""
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if _is_of_interpreter(entry))


def _is_of_interpreter(entry: Path) -> bool:
    return _is_ours(entry.name) or is_left(entry)


def partial_path(path: Path) -> Path:
    """Where a file is written until it takes its name: under the name with PARTIAL behind it, or, where that
    would be too long, under a digest of the name.
    """
    name = os.fsencode(path.name + PARTIAL)
    if len(name) <= MAX_NAME_BYTES:
        return path.with_name(path.name + PARTIAL)
    return path.with_name(hashlib.sha256(name).hexdigest()[:32] + PARTIAL)


def replace_file(path: Path, write: Callable[[Path], Any]) -> None:
    """Write under a temporary name, force to disk, rename: there is never half a file under ``path``.

    ``write`` writes into the file that it is given, and into no other: who clears up after a kill knows
    these two names. Whatever mode it gives to it, the file gets the one that the umask gives to a new one: a
    library may make it readable for its owner alone, and then no other user of a shared disk could use it.

    Raises OSError that names a file where the system could not write, as on a full disk.
    """
    partial = partial_path(path)
    try:
        with naming(path):
            partial.touch()
            mode = partial.stat().st_mode
            write(partial)
            partial.chmod(stat.S_IMODE(mode))
            force_to_disk(partial)
            os.replace(partial, path)
    except Exception:
        partial.unlink(missing_ok=True)  # of a full disk, above all
        raise
    force_to_disk(path.parent)


def damaged(path: Path, reason: object) -> UsageError:
    """The error for a file whose content is damaged."""
    words = " ".join(str(reason).split())
    words = words if len(words) <= 120 else f"{words[:117]}..."
    return UsageError(
        f"{path}: is damaged ({words}); restore it, or train anew with `dgan train --overwrite`"
    )


def unreadable(path: Path, error: OSError) -> UsageError:
    """The error for a file that cannot be read. The file may still be whole."""
    if isinstance(error, (FileNotFoundError, IsADirectoryError)):
        return damaged(path, error.strerror)
    reason = error.strerror or short(error)
    return UsageError(f"{path}: cannot be read ({reason}); make it readable, then run the same command again")
