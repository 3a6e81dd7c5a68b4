"""What the folders of one kind of training have of their own: the names of their files, the description.

    segmenter/
        segmenter.json           what it is; written before the first step
        log.jsonl                a line for each epoch, and for what else the kind logs
        training_state.pt        all that training goes on from
        ...                      weights and pictures, as the kind names them

Each file is written under a temporary name, forced to disk and renamed. It knows names, and no tensors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pipeline.errors import RunError, UsageError
from pipeline.interpreter.folder import PARTIAL, replace_file
from pipeline.settings.json_values import json_text, parse_object

LOG = "log.jsonl"
STATE = "training_state.pt"


class Description(Protocol):
    """What is trained, apart from its weights."""

    @property
    def training(self) -> Mapping[str, Any]:
        """The settings of the training."""
        ...

    def to_json(self) -> dict[str, Any]:
        """JSON values, tuples as lists."""
        ...


Info = TypeVar("Info", bound=Description)


@dataclass(frozen=True)
class Kind(Generic[Info]):
    """A kind of training.

    name: such as ``segmenter``. from_json: the inverse of the description's ``to_json``, raises ValueError.
    files: matches the names of further files that training writes. folders: those in the folder that hold
    some of them; there a name is ``samples/latest.png``.
    """

    name: str
    from_json: Callable[[Mapping[str, Any]], Info]
    files: re.Pattern[str]
    folders: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """The name of the description's file."""
        return f"{self.name}.json"

    def read_description(self, folder: Path) -> Info | None:
        """What the description says; None where there is none. Raises UsageError where it is malformed."""
        file = folder / self.description
        try:
            return self.from_json(parse_object(file.read_bytes()))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"{file}: cannot be read ({error.strerror}); make it readable") from error
        except ValueError as error:
            raise UsageError(f"{file}: is malformed ({error}); restore it, or train anew") from error

    def write_description(self, folder: Path, info: Info) -> None:
        """Write the description, whole or not at all."""
        text = json_text(info.to_json(), 2)
        replace_file(folder / self.description, partial(Path.write_text, data=text, encoding="utf-8"))

    def check_unchanged(self, folder: Path, info: Info | None) -> None:
        """Raise RunError where the folder is no longer described by ``info``.

        Who has read weights calls this: another run may have replaced both since the description was read.
        """
        if self.read_description(folder) != info:
            raise RunError(f"{folder}: another run has trained there meanwhile; run the same command again")

    def own_files(self, folder: Path) -> Iterator[Path]:
        """The files in the folder that training writes, those of a kill too; the description is the last."""
        if folder.is_dir():
            entries = [entry for entry in sorted(folder.iterdir()) if self.is_own_file(entry)]
            yield from (entry for entry in entries if entry.name != self.description)
            for name in self.folders:
                yield from self._files_within(folder / name)
            yield from (entry for entry in entries if entry.name == self.description)

    def _files_within(self, folder: Path) -> list[Path]:
        inner = sorted(folder.iterdir()) if folder.is_dir() else []
        return [entry for entry in inner if self._is_own(entry, f"{folder.name}/{entry.name}")]

    def is_own_file(self, entry: Path) -> bool:
        """Whether an entry of the folder is a file that training writes."""
        return self._is_own(entry, entry.name)

    def is_own(self, entry: Path) -> bool:
        """Whether an entry of the folder is such a file, or a folder that holds nothing else."""
        if entry.name in self.folders and entry.is_dir():
            return len(self._files_within(entry)) == len(list(entry.iterdir()))
        return self.is_own_file(entry)

    def _is_own(self, entry: Path, name: str) -> bool:
        name = name.removesuffix(PARTIAL)
        known = (self.description, LOG, STATE)
        return entry.is_file() and (name in known or self.files.fullmatch(name) is not None)
