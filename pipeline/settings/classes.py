"""The classes that a run is given, and every way in which a file lists classes.

A class's place in a list is its label. A list is

- ``[[annotations.classes]]`` of a configuration, or ``[[classes]]`` of a TOML file, which is read
  beside masks too if it is called ``classes.toml``:

      [[classes]]
      name = "background"         # the first class: what lies outside every shape
      color = "#000000"           # optional

      [[classes]]
      name = "door"

  above which may stand ``ignore = 255``, the label of pixels that count nowhere;
- ``labelmap.txt``, as CVAT and Datumaro write it: a line ``name:r,g,b:parts:actions`` for each class;
- ``class_names.txt``, as labelme2voc writes it: a name on each line, or ``value: name``;
- ``labels.txt``, as labelme is given it, and ``classes.txt``: the same, and beside masks they count only with
  the background first;
- ``_classes.csv``, as Roboflow writes it: ``value, name`` on each line, after a title.

A class named ``__ignore__`` is no class: pixels with its label count nowhere. This module knows no
annotations. It imports nothing heavy, because ``--help`` loads it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from fstore.meta import LARGEST_LABEL
from pipeline.errors import UsageError, count, short
from pipeline.settings.schema import AnnotationsConfig, ClassConfig
from pipeline.settings.text_files import read_text, read_toml, refuse_unknown
from pipeline.settings.values import COLOR, NAME, integer

MAX_CLASSES = LARGEST_LABEL + 1
LABEL = integer(0, LARGEST_LABEL)
BACKGROUND_NAMES = ("background", "_background_", "__background__")
IGNORE_NAME = "__ignore__"
LISTS = ("labelmap.txt", "class_names.txt", "_classes.csv", "classes.toml")
_LABELMAP_LINE = re.compile(r"([^:]+):\s*([0-9]{1,3})\s*,\s*([0-9]{1,3})\s*,\s*([0-9]{1,3})\s*(?::.*)?")
_VALUE_LINE = re.compile(r"([0-9]{1,5})\s*[:=,\s]\s*(\S.*)")
_CSV_LINE = re.compile(r"([0-9]{1,5})\s*,\s*(.+)")


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
    """The classes that a file lists, of any kind above, told by its suffix and its lines.

    Raises UsageError, one line, naming the file and the table or line that is wrong.
    """
    suffix = path.suffix.lower()
    if suffix in (".txt", ".names"):
        return _read_names(path)
    if suffix == ".csv":
        return _read_csv(path)
    document = read_toml(path, "a list of classes")
    refuse_unknown(document, ("classes", "ignore"), f"{path}: unknown key")
    return tuple(parse_class(table, where) for where, table in class_tables(document.get("classes"), path))


def listed_ignore(path: Path | None) -> int | None:
    """The label of pixels that count nowhere, where a TOML list of classes says it. Raises UsageError."""
    if path is None or path.suffix.lower() != ".toml":
        return None
    label = read_toml(path, "a list of classes").get("ignore")
    return None if label is None else int(LABEL.check(f"{path}: ignore", label))


def class_tables(tables: Any, source: Path | str, header: str = "[[classes]]") -> list[tuple[str, Any]]:
    """(name for messages, table) of each table ``header``, whose names differ, whatever their case.

    Raises UsageError, one line beginning with ``source``.
    """
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"{source}: has no tables {header}; expected one for each class, with a name")
    seen: dict[str, int] = {}
    for number, table in enumerate(tables):
        key = str(table.get("name")).casefold()
        if key in seen:
            raise UsageError(
                f"{source}: {header} number {number} is named {short(table.get('name'))} as number "
                f"{seen[key]} is; rename one"
            )
        seen[key] = number
    return [(f"{source}: {header} number {number}", table) for number, table in enumerate(tables)]


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


def default_names(num_classes: int) -> list[str]:
    """Names of classes that nobody has named: ``background``, ``class_1``, ``class_2`` and so on."""
    return padded_names((), num_classes)


def unnamed_class(place: int, taken: Container[str]) -> str:
    """``class_3`` for the class at place 3 that nobody has named; ``class_3_2`` and so on where that is
    ``taken``, a set of names in lower case.
    """
    name, number = f"class_{place}", 1
    while name in taken:
        number += 1
        name = f"class_{place}_{number}"
    return name


def padded_names(names: Sequence[str], num_classes: int) -> list[str]:
    """The names, and behind them as many of unnamed classes as make them ``num_classes``; no two are one."""
    padded, taken = list(names), {name.casefold() for name in names}
    for place in range(len(names), num_classes):
        padded.append(unnamed_class(place, taken) if place else "background")
        taken.add(padded[-1])
    return padded


def places_of_names(names: Sequence[str], among: Sequence[str]) -> list[int | None]:
    """The place of each name among others; None for one that is not there, or not as often as in ``names``.

    Where it stands several times, as in a store that an older version has made, the first is the first, the
    second the second.
    """
    places: dict[str, list[int]] = {}
    for place, name in enumerate(among):
        places.setdefault(name, []).append(place)
    often, seen = Counter(names), Counter[str]()
    found: list[int | None] = []
    for name in names:
        there = places.get(name, [])
        found.append(there[seen[name]] if len(there) == often[name] else None)
        seen[name] += 1
    return found


def default_palette(num_classes: int) -> list[str]:
    """``num_classes`` colours "#rrggbb": black for background, then each as far from those before as can be.

    The colours of fewer classes are the first of those of more. Far means distant in RGB, on a lattice of 216
    colours; past these, colours are merely scattered.
    """
    levels = range(0, 256, 51)
    lattice = [(r, g, b) for r in levels for g in levels for b in levels]
    chosen = [0]
    nearest = [3 * 255**2 + 1] * len(lattice)  # squared distance of each colour to the chosen ones
    while len(chosen) < min(num_classes, len(lattice)):
        last = lattice[chosen[-1]]
        nearest = [
            min(old, sum((a - b) ** 2 for a, b in zip(color, last, strict=True)))
            for old, color in zip(nearest, lattice, strict=True)
        ]
        chosen.append(max(range(len(lattice)), key=nearest.__getitem__))
    colors = ["#{:02x}{:02x}{:02x}".format(*lattice[place]) for place in chosen]
    colors += [f"#{place * 0x9E3779 % 0xFFFFFF:06x}" for place in range(len(lattice), num_classes)]
    return colors[:num_classes]


def _read_names(path: Path) -> tuple[ClassConfig, ...]:
    """A labelmap of names and colours, or names alone. ``__ignore__`` in the first line has no place, as in
    labelme's lists, where it is number -1.
    """
    lines = [line.strip() for line in read_text(path, "a list of classes").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    matches = [_LABELMAP_LINE.fullmatch(line) for line in lines]
    tables: list[dict[str, str]]
    if any(matches):
        tables = [_labelmap_table(match, line, path) for match, line in zip(matches, lines, strict=True)]
    else:
        names = _without_values(lines[bool(lines) and lines[0] == IGNORE_NAME :])
        tables = [{"name": name} for name in names]
    return _of_tables(tables, path)


def _without_values(lines: list[str]) -> list[str]:
    """The names alone where each line begins with its value, as in ``0: background``."""
    matches = [_VALUE_LINE.fullmatch(line) for line in lines]
    values = [int(match[1]) for match in matches if match]
    return [match[2] for match in matches if match] if values == list(range(len(lines))) else lines


def _labelmap_table(match: re.Match[str] | None, line: str, path: Path) -> dict[str, str]:
    channels = [int(value) for value in match.groups()[1:]] if match else [256]
    if match is None or max(channels) > 255:
        raise UsageError(f"{path}: has a line {short(line)}; expected name:r,g,b:parts:actions")
    return {"name": match[1].strip(), "color": "#{:02x}{:02x}{:02x}".format(*channels)}


def _read_csv(path: Path) -> tuple[ClassConfig, ...]:
    lines = [line.strip() for line in read_text(path, "a list of classes").splitlines() if line.strip()]
    rows = [_CSV_LINE.fullmatch(line) for line in lines[1:]]
    values = [int(row[1]) for row in rows if row]
    if not rows or values != list(range(len(rows))):
        raise UsageError(
            f"{path}: is no list of classes; expected a title, and lines 'value, name' from value 0 on, in "
            "order"
        )
    return _of_tables([{"name": row[2].strip()} for row in rows if row], path)


def _of_tables(tables: list[dict[str, str]], path: Path) -> tuple[ClassConfig, ...]:
    if not tables:
        raise UsageError(f"{path}: lists no class; expected a line for each")
    if len(tables) > MAX_CLASSES:
        raise UsageError(f"{path}: lists {count(len(tables), 'class')}; expected at most {MAX_CLASSES}")
    return tuple(parse_class(table, where) for where, table in class_tables(tables, path, "class"))
