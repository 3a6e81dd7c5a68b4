"""The folder of an export: its states, its marks, and how an export becomes whole there.

    OUT/
      .dgan-export.partial/    while the export is not finished
        job.json               the settings of the export that was begun
        parts/0000012.json     a part that is written: its files with sizes, and the records of its images
        tree/                  the files, as they will lie in OUT
        ready.json             all files are there: the names in tree/, which move to OUT
        discard.json           with --overwrite: the names in OUT that are being deleted
      .dgan-export.json        the mark of a finished export: its settings, and which names in OUT are its

Files move to OUT when all are written and forced to disk, and the mark comes last. So what lies in OUT
without the mark is never taken for whole. This module knows names and marks. It knows no formats.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fstore.durable import force_to_disk
from pipeline.errors import UsageError

MARK = ".dgan-export.json"
PARTIAL = ".dgan-export.partial"


class ExportFolder:
    """The folder OUT. A class, because all of it hangs on one path."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.partial = out / PARTIAL
        self.tree = self.partial / "tree"

    def state(self) -> str:
        """``absent`` (or without anything useful), ``unfinished``, ``finished``, ``discarding`` (a deletion
        was cut off), or ``foreign`` (something else lies there).
        """
        if not self.out.exists():
            return "absent"
        if not self.out.is_dir():
            return "foreign"
        names = {entry.name for entry in self.out.iterdir()} - {PARTIAL}
        if (self.partial / "discard.json").exists():
            return "discarding"
        if MARK in names:
            return "finished"
        if names - set(self._entries("ready.json")):
            return "foreign"
        return "unfinished" if (self.partial / "job.json").exists() else "absent"

    def settings(self) -> dict[str, Any]:
        """The settings of the export that is or was begun there; {} where they are damaged or not there."""
        path = self.out / MARK if self.state() == "finished" else self.partial / "job.json"
        settings = _read(path).get("settings")
        return settings if isinstance(settings, dict) else {}

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Make the folder, and what an export needs in it."""
        (self.partial / "parts").mkdir(parents=True, exist_ok=True)
        self.tree.mkdir(exist_ok=True)
        _write(self.partial / "job.json", {"settings": settings})

    def discard(self) -> None:
        """Delete an export, finished or not: the mark first, and of OUT only what is the export's."""
        entries = [name for name in _read(self.out / MARK).get("entries", []) if _is_name(name)]
        entries = sorted({*entries, *self._entries("ready.json"), *self._entries("discard.json")})
        self.partial.mkdir(parents=True, exist_ok=True)
        _write(self.partial / "discard.json", {"entries": entries})
        (self.out / MARK).unlink(missing_ok=True)
        for name in entries:
            _remove(self.out / name)
        shutil.rmtree(self.partial)

    def written(self, part: int) -> bool:
        """Whether a part is marked, and its files have the sizes that they were written with.

        Sizes are compared because a crash of the machine may lose the end of a file whose mark it keeps.
        """
        files = _read(self._part(part)).get("files")
        if not isinstance(files, dict):
            return False
        try:
            return all((self.tree / name).stat().st_size == size for name, size in files.items())
        except OSError:
            return False

    def mark_part(self, part: int, files: Mapping[str, int], records: list[dict[str, Any]]) -> None:
        """Mark a part whose files, name and size in bytes, are written."""
        _write(self._part(part), {"files": files, "records": records}, durable=False)

    def records(self, parts: range) -> Iterable[dict[str, Any]]:
        """The records of the images of these parts, one after another; only one part's are in memory.

        They can be gone through more than once.
        """
        return PartRecords([self._part(part) for part in parts])

    def finish(self, settings: Mapping[str, Any], more: Mapping[str, Any]) -> None:
        """Move all files to OUT and mark the export as whole, with ``more`` in the mark.

        After a kill at any moment the same call goes on.
        """
        if not (self.partial / "ready.json").exists():
            os.sync()  # thousands of files at once take less time than one by one
            _write(self.partial / "ready.json", {"entries": sorted(os.listdir(self.tree))})
        entries = self._entries("ready.json")
        for name in entries:
            if os.path.lexists(self.tree / name):
                os.rename(self.tree / name, self.out / name)
        force_to_disk(self.out)
        _write(self.out / MARK, {"settings": settings, "entries": entries, **more})
        self.sweep()

    def sweep(self) -> None:
        """Delete what a finished export does not need any more."""
        shutil.rmtree(self.partial, ignore_errors=True)

    def is_ready(self) -> bool:
        """Whether all files are written, so that only ``finish`` is left."""
        return (self.partial / "ready.json").exists()

    def _part(self, part: int) -> Path:
        return self.partial / "parts" / f"{part:07d}.json"

    def _entries(self, name: str) -> list[str]:
        return [entry for entry in _read(self.partial / name).get("entries", []) if _is_name(entry)]


class PartRecords:
    """The records in the marks of parts. A class, because a generator can be gone through only once."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for path in self._paths:
            yield from _read(path)["records"]


def refuse_foreign(folder: ExportFolder) -> None:
    """Raise UsageError where something else than an export lies in the folder."""
    if folder.state() == "foreign":
        what = "is a file" if not folder.out.is_dir() else "holds other files"
        raise UsageError(f"{folder.out}: {what}; expected an empty or new folder, name another OUT")


def _read(path: Path) -> dict[str, Any]:
    """A mark's JSON object; {} where there is none, or it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, document: Mapping[str, Any], *, durable: bool = True) -> None:
    """Write a mark under a temporary name, then rename it."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(json.dumps(document, ensure_ascii=False) + "\n", encoding="utf-8")
    if durable:
        force_to_disk(temporary)
    os.replace(temporary, path)
    if durable:
        force_to_disk(path.parent)


def _is_name(name: object) -> bool:
    """Whether it is a plain name in a folder: a damaged mark must not make us delete elsewhere."""
    return isinstance(name, str) and name not in ("", ".", "..") and os.path.basename(name) == name


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
