"""Writes the files of one part and remembers their sizes, for the mark that says that the part is whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


class Sink:
    """Where an exporter writes: names are relative to the export's folder, with ``/``.

    A class, because it collects ``files``: name -> bytes of every file written. What a killed attempt left
    under the same name is replaced.
    """

    def __init__(self, tree: Path) -> None:
        self._tree = tree
        self.files: dict[str, int] = {}

    def write(self, name: str, content: bytes) -> None:
        """Write one file whole."""
        with self.open(name) as file:
            file.write(content)

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """A new file, to be written in the block."""
        path = self._tree / name
        try:
            file = path.open("wb")
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("wb")
        try:
            with file:
                yield file
        except OSError as error:
            error.filename = error.filename or str(path)  # a disk that is full says no name
            raise
        self.files[name] = path.stat().st_size

    @contextmanager
    def folder(self, name: str) -> Iterator[Path]:
        """An empty folder, which the block fills by itself."""
        path = self._tree / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        yield path
        for entry in sorted(path.rglob("*")):
            if entry.is_file():
                self.files[entry.relative_to(self._tree).as_posix()] = entry.stat().st_size
