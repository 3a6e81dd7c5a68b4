"""The folder of an export: its states, its marks, and how an export becomes whole there.

    OUT/
      .dgan-export.partial/    while the export is not finished
        job.json               the settings of the export that was begun
        parts/0000012.json     a part that is written: its files with hashes, and the records of its images
        tree/                  the files, as they will lie in OUT
        temporary/             files that workers have not written to their end
        .dgan-export.files     all files are there: their names, which move to OUT with them
        ready.json             the names in tree/, which move to OUT
        discard.json           with --overwrite: the names in OUT that are being deleted
      .dgan-export.files       the names of all files of the export, at any depth; nothing else is deleted
      .dgan-export.json        the mark of a finished export: its settings, and which names in OUT are its

Files move to OUT when all are written and forced to disk, and the mark comes last. So what lies in OUT
without the mark is never taken for whole. All of it is in OUT, because OUT may be a link or a disk of its
own, and only within one file system is a move one step. This module knows names and marks. It knows no
formats.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from fstore.durable import force_to_disk
from pipeline.errors import RunError, UsageError
from pipeline.exports.marks import (
    FILES,
    MARK,
    NAMES,
    PARTIAL,
    PartRecords,
    entries_of,
    read_mark,
    write_mark,
)
from pipeline.exports.own_files import OwnFiles, delete, strangers, write_list
from pipeline.settings.file_names import SYSTEM_NAMES


class ExportFolder:
    """The folder OUT. A class, because all of it hangs on one path."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.partial = out / PARTIAL
        self.tree = self.partial / "tree"
        self.temporary = self.partial / "temporary"

    def state(self) -> str:
        """``absent`` (or empty), ``unfinished``, ``finished``, ``discarding`` (a deletion was cut off), or
        ``foreign`` (a file, or a folder of other things).
        """
        if not self.out.exists():
            return "absent"
        if not self.out.is_dir():
            return "foreign"
        if (self.partial / "discard.json").exists():
            return "discarding"
        if (self.out / MARK).exists():
            return "finished"
        if (self.partial / "job.json").exists():
            return "unfinished"
        return "foreign" if self.others() else "absent"

    def others(self) -> list[str]:
        """The names in OUT that are no export's, or of an export whose marks are damaged; ascending."""
        names = {entry.name for entry in self.out.iterdir()} if self.out.is_dir() else set()
        return sorted(names - NAMES - SYSTEM_NAMES - set(self._all_entries()))

    def others_below(self) -> list[str]:
        """The files in the export's own folders that it has not written, relative to OUT; ascending.

        Raises UsageError where it has folders and no list says what it has written in them.
        """
        folders = [name for name in self._all_entries() if _is_folder(self.out / name)]
        if not folders:
            return []
        lists = self._lists()
        if not any(path.exists() for path in lists):
            raise UsageError(
                f"{self.out}: {FILES}, which lists the export's files, is not there (older versions wrote "
                "none), so files of yours among them cannot be told; delete the folder, or name another OUT"
            )
        own = OwnFiles(lists)
        return [name for folder in folders for name in strangers(self.out, folder, own)]

    def missing(self) -> list[str]:
        """The names of a finished export that are not in OUT any more."""
        return [name for name in self._marked() if not os.path.lexists(self.out / name)]

    def settings(self) -> dict[str, Any]:
        """The settings of the export that is or was begun there; {} where their file is damaged."""
        path = self.out / MARK if self.state() == "finished" else self.partial / "job.json"
        settings = read_mark(path).get("settings")
        return settings if isinstance(settings, dict) else {}

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Make what an export needs in the folder."""
        (self.partial / "parts").mkdir(parents=True, exist_ok=True)
        self.tree.mkdir(exist_ok=True)
        (self.out / FILES).unlink(missing_ok=True)  # of an export that was deleted before the power was lost
        write_mark(self.partial / "job.json", {"settings": settings})
        force_to_disk(self.out)

    def discard(self) -> None:
        """Delete an export, finished or not, and of OUT only what is the export's. It may be cut off at any
        moment, and called again.

        What says that files are whole goes first, then the files, then the list of them, and ``discard.json``
        last. Raises UsageError where a folder of the export has other files, which stay.
        """
        entries, own = self._all_entries(), OwnFiles(self._lists())
        self.partial.mkdir(exist_ok=True)
        last = self.partial / "discard.json"
        write_mark(last, {"entries": entries})
        force_to_disk(self.out)  # the name of the folder that has it
        for path in (self.out / MARK, self.partial / "ready.json", self.partial / "job.json"):
            path.unlink(missing_ok=True)
        force_to_disk(self.partial)
        force_to_disk(self.out)
        for name in entries:
            delete(self.out, name, own)
        force_to_disk(self.out)  # a file that is back after a loss of power must be in a list
        (self.out / FILES).unlink(missing_ok=True)
        for path in self.partial.iterdir():
            if path != last:
                _remove(path)
        force_to_disk(self.out)  # a file that is back after a loss of power must have a mark that names it
        last.unlink()
        self.partial.rmdir()

    def written(self, part: int) -> bool:
        """Whether a part is marked, and its files have the bytes that were written.

        They are read and compared, because neither they nor the mark are forced to the disk: a loss of power
        may leave the mark, and a file that lacks its end or holds zeros.
        """
        mark = read_mark(self._part(part))
        files = mark.get("files")
        if not isinstance(files, dict) or not isinstance(mark.get("records"), list):
            return False
        try:
            return all(fingerprint(self.tree / name) == found for name, found in files.items())
        except OSError:
            return False

    def mark_part(self, part: int, files: Iterable[str], records: list[dict[str, Any]]) -> None:
        """Mark a part whose files, by their names in ``tree``, are written."""
        write_mark(self._part(part), self._part_mark(files, records), durable=False)

    def prepare_mark(self, part: int, files: Iterable[str], records: list[dict[str, Any]]) -> None:
        """Write the mark of a part for another process, which makes it count by ``mark_prepared``."""
        write_mark(self._prepared(part), self._part_mark(files, records))

    def _part_mark(self, files: Iterable[str], records: list[dict[str, Any]]) -> dict[str, Any]:
        return {"files": {name: fingerprint(self.tree / name) for name in files}, "records": records}

    def mark_prepared(self, part: int) -> None:
        """Mark a part whose mark another process has prepared."""
        os.replace(self._prepared(part), self._part(part))

    def records(self, parts: range) -> Iterable[dict[str, Any]]:
        """The records of the images of these parts, one after another; only one part's are in memory.

        They can be gone through more than once.
        """
        return PartRecords([self._part(part) for part in parts])

    def finish(
        self, settings: Mapping[str, Any], more: Mapping[str, Any], whole_files: Iterable[str] = ()
    ) -> None:
        """Move all files to OUT and mark the export as whole, with ``more`` in the mark.

        ``whole_files``: the files that are of no part, by their names in ``tree``. After a kill at any moment
        the same call goes on. Raises UsageError where something with the name of such a file was put into OUT
        meanwhile, RunError where one was taken away.
        """
        if not self.is_ready():
            self._make_ready(whole_files)
        entries = self._entries("ready.json")
        for name in entries:
            if os.path.lexists(self.tree / name):
                os.rename(self.tree / name, self.out / name)
            elif not os.path.lexists(self.out / name):
                raise RunError(f"{self.out / name}: was taken away; pass --overwrite to export anew")
        if (self.partial / FILES).exists():
            os.replace(self.partial / FILES, self.out / FILES)
        force_to_disk(self.out)
        # Not under a temporary name in OUT: a kill would leave it there.
        write_mark(self.partial / "mark.json", {"settings": settings, "entries": entries, **more})
        os.replace(self.partial / "mark.json", self.out / MARK)
        force_to_disk(self.out)
        self.sweep()

    def _make_ready(self, whole_files: Iterable[str]) -> None:
        names = sorted(os.listdir(self.tree))
        taken = [name for name in names if os.path.lexists(self.out / name)]
        if taken:
            raise UsageError(
                f"{self.out / taken[0]}: was put there while the export ran, which has a file or folder of "
                "that name; move it away, then the same command goes on"
            )
        os.sync()  # thousands of files at once take less time than one by one
        write_list(self.partial / FILES, chain(self._part_files(), whole_files))
        write_mark(self.partial / "ready.json", {"entries": names})

    def sweep(self) -> None:
        """Delete what a finished export does not need any more."""
        shutil.rmtree(self.partial, ignore_errors=True)

    def is_ready(self) -> bool:
        """Whether all files are written, so that only ``finish`` is left."""
        return bool(self._entries("ready.json"))

    def _part_files(self) -> Iterator[str]:
        """The names of the files of all parts; only one part's are in memory."""
        for path in sorted((self.partial / "parts").glob("*.json")):
            yield from read_mark(path)["files"]

    def _lists(self) -> list[Path]:
        """The lists of the export's files: where they lie while it is not finished, and afterwards."""
        return [self.partial / FILES, self.out / FILES]

    def _part(self, part: int) -> Path:
        return self.partial / "parts" / f"{part:07d}.json"

    def _prepared(self, part: int) -> Path:
        return self._part(part).with_suffix(".prepared")

    def _entries(self, name: str) -> list[str]:
        return entries_of(self.partial / name)

    def _marked(self) -> list[str]:
        return entries_of(self.out / MARK)

    def _all_entries(self) -> list[str]:
        """The names in OUT that any mark says are the export's."""
        return sorted({*self._marked(), *self._entries("ready.json"), *self._entries("discard.json")})


def fingerprint(path: Path) -> str:
    """A file's sha256, by which a part's mark knows it again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_folder(path: Path) -> bool:
    """Whether a folder lies there, and no link to one: of a link the link alone is deleted."""
    return path.is_dir() and not path.is_symlink()


def _remove(path: Path) -> None:
    if _is_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
