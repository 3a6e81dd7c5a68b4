"""The list of an export's own files: how it is written, what lies among them, and how they are deleted.

People put files of their own into the folders of an export. So an export lists every file that it has
written, a JSON text a line, and what is not in the list is never deleted. Memory holds eight bytes of each
name, because there may be millions.
"""

from __future__ import annotations

import errno
import json
import os
from array import array
from bisect import bisect_left
from collections.abc import Container, Iterable, Iterator
from hashlib import blake2b
from pathlib import Path

import numpy as np

from fstore.durable import force_to_disk
from pipeline.errors import UsageError
from pipeline.settings.json_values import json_text

SYSTEM_FILES = frozenset({".DS_Store"})  # which appear in any folder by themselves, and hold nothing of value
_KEY_BYTES = 8  # the chance that a file of somebody else has the key of one of millions is below 10^-12


class OwnFiles:
    """The names in some lists, relative to the export's folder. A class, because they are read once and asked
    for often.

    A line that is damaged counts as none: then its file is nobody's, and stays.
    """

    def __init__(self, lists: Iterable[Path]) -> None:
        self._keys = array("Q", (_key(name) for path in lists for name in _names(path)))
        if self._keys:  # numpy takes no empty buffer
            np.frombuffer(self._keys, np.uint64).sort()

    def __contains__(self, name: object) -> bool:
        key = _key(str(name))
        place = bisect_left(self._keys, key)
        return place < len(self._keys) and self._keys[place] == key


def write_list(path: Path, names: Iterable[str]) -> None:
    """Write the list whole, and force it to the disk."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("w", encoding="utf-8") as file:
        file.writelines(json_text(name) for name in names)
    force_to_disk(temporary)
    os.replace(temporary, path)
    force_to_disk(path.parent)


def strangers(out: Path, folder: str, own: Container[str]) -> list[str]:
    """The files and links in a folder of OUT, at any depth, that are not ``own``; ascending, relative to OUT.

    No link is followed.
    """
    return sorted(name for name in _files_below(out, folder) if not _may_go(name, own))


def delete(out: Path, name: str, own: Container[str]) -> None:
    """Delete a file of OUT, or a folder with the files in it that are ``own``. Of a link the link alone goes.

    Raises UsageError where something else lies in the folder, which stays.
    """
    top = out / name
    if top.is_symlink() or not top.is_dir():
        top.unlink(missing_ok=True)
        return
    for folder, _, files in os.walk(top, topdown=False):
        for file in files:
            path = Path(folder, file)
            if _may_go(path.relative_to(out).as_posix(), own):
                path.unlink()
        try:
            os.rmdir(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise UsageError(
                f"{folder}: something was put there while the export was deleted; move it away, then the "
                "same command goes on"
            ) from None


def _may_go(name: str, own: Container[str]) -> bool:
    return name in own or name.rpartition("/")[2] in SYSTEM_FILES


def _files_below(out: Path, name: str) -> Iterator[str]:
    waiting = [name]
    while waiting:
        folder = waiting.pop()
        with os.scandir(out / folder) as found:
            for entry in found:
                below = f"{folder}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(below)
                else:
                    yield below


def _names(path: Path) -> Iterator[str]:
    """The names in a list, one after another; none where there is no list."""
    try:
        with path.open("rb") as file:
            for line in file:
                try:
                    name = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(name, str):
                    yield name
    except (FileNotFoundError, NotADirectoryError):
        return


def _key(name: str) -> int:
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).digest()
    return int.from_bytes(digest, "little")
