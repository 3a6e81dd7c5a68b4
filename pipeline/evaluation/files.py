"""The files of figures: a JSON and the picture beside it, each written whole or not at all.

It knows files. It does not know what the figures are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import UsageError
from pipeline.interpreter.folder import check_writable, replace_file
from pipeline.settings.json_values import json_text

PICTURE = ".svg"
_HEAD_BYTES = 200


class FiguresKind(NamedTuple):
    """What the figures are: the ``kind`` in the JSON, the command that writes them, a name for a file."""

    name: str
    command: str
    example: str

    @property
    def sign(self) -> str:
        """The beginning of a picture, by which one of ours is known again."""
        return f"<!-- dgan {self.name} -->\n"


EVALUATION = FiguresKind("evaluation", "dgan evaluate", "evaluation.json")


def picture_path(out: Path) -> Path:
    """Where the picture of ``out`` lies."""
    return out.with_suffix(PICTURE)


def check_out(out: Path, kind: FiguresKind, *, overwrite: bool = False) -> None:
    """Refuse a place that cannot be written, or that holds a file of another kind, unless ``overwrite``.

    Raises UsageError.
    """
    if out.is_dir():  # "." among them, which has no name to put a suffix to
        raise UsageError(f"{out}: is a folder, expected a file; name another --out")
    if out.suffix.lower() == PICTURE:
        raise UsageError(f"{out}: is where the picture would lie; expected a name such as {kind.example}")
    for path, is_ours in ((out, _are_figures), (picture_path(out), _is_picture)):
        if path.is_dir():
            raise UsageError(f"{path}: is a folder, expected a file; name another --out")
        if path.exists() and not overwrite and not is_ours(path, kind):
            raise UsageError(f"{path}: is no file of `{kind.command}`; move it, or name another --out")
    check_writable(out.parent)


def write_files(out: Path, kind: FiguresKind, figures: Mapping[str, Any], picture: str) -> None:
    """Write the picture and then the figures, each under a temporary name that is then renamed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    written = json_text(figures, 2)
    for path, content in ((picture_path(out), kind.sign + picture), (out, written)):
        replace_file(path, partial(Path.write_text, data=content, encoding="utf-8"))


def _are_figures(path: Path, kind: FiguresKind) -> bool:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("kind") == kind.name


def _is_picture(path: Path, kind: FiguresKind) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES).startswith(kind.sign.encode())
    except OSError:
        return False
