"""The classes that a run is given: the ``[[annotations.classes]]`` tables, or a TOML file of ``[[classes]]``.

Does not know annotations. A file of classes is

    [[classes]]
    name = "background"         # the first class: what lies outside every shape
    color = "#000000"           # optional

    [[classes]]
    name = "door"

and a class's place in the list is its label.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError, count, short
from pipeline.settings.schema import AnnotationsConfig, ClassConfig
from pipeline.settings.values import COLOR, NAME

MAX_FILE_BYTES = 2**24


def configured_classes(config: AnnotationsConfig) -> tuple[tuple[ClassConfig, ...], str]:
    """The classes and where they stand, for messages; () where none are given, or the file has but one.

    Raises UsageError, one line, for a file of classes that cannot be read or disagrees with ``num_classes``.
    """
    if config.classes or config.classes_file is None:
        return config.classes, "[[annotations.classes]]"
    classes = read_classes_file(config.classes_file)
    if len(classes) == 1:  # as `dgan sample` writes it, not filled in yet: the background alone
        return (), str(config.classes_file)
    if config.num_classes not in (None, len(classes)):
        raise UsageError(
            f"{config.classes_file}: has {count(len(classes), 'class')}, but num_classes is "
            f"{config.num_classes}; "
            "expected as many: leave num_classes out"
        )
    return classes, str(config.classes_file)


def read_classes_file(path: Path) -> tuple[ClassConfig, ...]:
    """The ``[[classes]]`` of a TOML file. Raises UsageError, one line, naming file and table."""
    document = read_toml(path, "a list of classes")
    refuse_unknown(document, ("classes",), f"{path}: unknown key")
    return tuple(parse_class(table, f"{path}: {where}") for where, table in class_tables(document, path))


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """A TOML file's tables. Raises UsageError, one line, naming the file."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(
                f"{path}: is {path.stat().st_size} bytes; expected {what}, at most {MAX_FILE_BYTES}"
            )
        text = path.read_bytes().decode("utf-8-sig")
        return tomllib.loads(text.replace("\r\n", "\n"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UsageError(f"{path}: cannot be read as TOML ({reason}); expected {what}") from error


def class_tables(document: Mapping[str, Any], path: Path) -> list[tuple[str, dict[str, Any]]]:
    """(name for messages, table) of each ``[[classes]]``, whose names are there and differ."""
    tables = document.get("classes")
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"{path}: has no tables [[classes]]; expected one for each class, with a name")
    seen: dict[str, int] = {}
    for number, table in enumerate(tables):
        key = str(table.get("name")).casefold()
        if key in seen:
            raise UsageError(
                f"{path}: [[classes]] number {number} is named {short(table.get('name'))} as number "
                f"{seen[key]} is; rename one"
            )
        seen[key] = number
    return [(f"[[classes]] number {number}", table) for number, table in enumerate(tables)]


def parse_class(table: Mapping[str, Any], where: str, more: Sequence[str] = ()) -> ClassConfig:
    """One table as a class; ``more`` are keys of it that the caller reads."""
    refuse_unknown(table, ("name", "color", *more), f"{where}: unknown key")
    try:
        name = NAME.parse(table.get("name"))
    except (ValueError, TypeError) as error:
        raise UsageError(f'{where}: name is {short(table.get("name"))}; expected name = "..."') from error
    try:
        color = None if table.get("color") is None else COLOR.parse(table["color"])
    except (ValueError, TypeError) as error:
        raise UsageError(f"{where}: color is {short(table['color'])}; expected {COLOR.expected}") from error
    return ClassConfig(name, color)


def refuse_unknown(table: Mapping[str, Any], known: Sequence[str], what: str) -> None:
    """Raises UsageError for a key that is not ``known``, naming the nearest that is."""
    for name in table:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise UsageError(f"{what} {short(name)}; the nearest known one is {nearest!r}")
