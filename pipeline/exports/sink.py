"""Writes the files of one part and remembers their sizes, for the mark that says that the part is whole."""

from __future__ import annotations

import io
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


class MeasuringSink(Sink):
    """Counts the bytes of files and keeps none of them, so that an estimate needs no disk."""

    def __init__(self) -> None:
        super().__init__(Path())

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """A file in memory, which is forgotten after the block."""
        with io.BytesIO() as file:
            yield file
            self.files[name] = file.getbuffer().nbytes
