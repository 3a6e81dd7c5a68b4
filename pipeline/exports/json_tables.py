"""Writes a JSON object with long lists an entry at a time, so that no list is in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

from pipeline.settings.json_values import json_text


def write_tables(
    file: BinaryIO, head: Mapping[str, Any], tables: Mapping[str, Iterable[Mapping[str, Any]]]
) -> None:
    """Write ``head`` and then each of the tables, as keys of one object; an entry is a line."""
    opening = "{"
    for key, value in head.items():
        file.write(f"{opening}{_text(key)}: {_text(value)}".encode())
        opening = ",\n"
    for name, entries in tables.items():
        file.write(f"{opening}{_text(name)}: [".encode())
        between = "\n"
        for entry in entries:
            file.write((between + _text(entry)).encode())
            between = ",\n"
        file.write(b"]")
        opening = ",\n"
    file.write(b"}\n")


def _text(value: Any) -> str:
    return json_text(value).removesuffix("\n")
