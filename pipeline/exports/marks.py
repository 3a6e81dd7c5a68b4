"""The marks of an export: small JSON files that say what is whole. How they are written and read.

A mark that is damaged counts as none. It knows files. It does not know when an export is whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fstore.durable import force_to_disk
from pipeline.settings.json_values import json_text

MARK = ".dgan-export.json"
FILES = ".dgan-export.files"
PARTIAL = ".dgan-export.partial"
NAMES = frozenset({MARK, FILES, PARTIAL})  # which no file of an export has


class PartRecords:
    """The records in the marks of parts. A class, because a generator can be gone through only once."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for path in self._paths:
            yield from read_mark(path)["records"]


def read_mark(path: Path) -> dict[str, Any]:
    """A mark's JSON object; {} where there is none, or it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def entries_of(path: Path) -> list[str]:
    """The names in OUT that a mark lists. Only plain names: a damaged mark must not make us delete
    elsewhere.
    """
    entries = read_mark(path).get("entries")
    return [name for name in entries if _is_name(name)] if isinstance(entries, list) else []


def write_mark(path: Path, document: Mapping[str, Any], *, durable: bool = True) -> None:
    """Write a mark under a temporary name, then rename it. ``durable``: force both to disk."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(json_text(document), encoding="utf-8")
    if durable:
        force_to_disk(temporary)
    os.replace(temporary, path)
    if durable:
        force_to_disk(path.parent)


def _is_name(name: object) -> bool:
    if not isinstance(name, str) or name in ("", ".", "..") or name in NAMES:
        return False
    return os.path.basename(name) == name and "\0" not in name
