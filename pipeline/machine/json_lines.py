"""A log of JSON lines that a run goes on with: what was logged after the point of resuming is cut off first.

It knows lines. It does not know what they say.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import naming


class JsonLines:
    """The file ``path``. A class, because it keeps where the whole lines end."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def cut(self, keep: Callable[[Mapping[str, Any]], bool]) -> None:
        """Keep the lines before the first that is not to be kept, or is no JSON object."""
        rows = []
        for row in self.rows():
            if not keep(row):
                break
            rows.append(row)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        partial = self.path.with_name(self.path.name + ".partial")
        with naming(self.path):
            with partial.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())  # else a loss of power may leave no line of those that were kept
            partial.replace(self.path)

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one line, and force it to the disk: what is forced after it may count it as written."""
        with naming(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def rows(self) -> list[dict[str, Any]]:
        """The whole lines, up to the first that is damaged, such as one that was cut by a kill."""
        rows: list[dict[str, Any]] = []
        try:
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return rows
        for line in lines:
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                break
            if not isinstance(row, dict):
                break
            rows.append(row)
        return rows
