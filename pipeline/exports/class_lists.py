"""Lists of classes as files: what ``--annotations`` and other programs read beside masks."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import replace

from fstore.meta import ClassInfo
from pipeline.settings.classes import default_palette


def classes_toml(classes: Sequence[ClassInfo], ignore: int | None) -> str:
    """``classes.toml``, as ``--annotations`` reads it: ``ignore``, and a table ``[[classes]]`` a label."""
    head = "# The classes in the order of their labels.\n"
    if ignore is not None:
        head += f"ignore = {ignore}  # the label of pixels that belong to no class\n"
    # a JSON text is a TOML text too
    tables = [
        f'[[classes]]\nname = {json.dumps(entry.name, ensure_ascii=False)}\ncolor = "{entry.color}"\n'
        for entry in classes
    ]
    return head + "\n" + "\n".join(tables)


def with_distinct_colors(classes: Sequence[ClassInfo], reserved: Collection[str]) -> tuple[ClassInfo, ...]:
    """The classes with a colour each that is no other's and not reserved, "#rrggbb".

    The first class of a colour keeps it. A later one gets the first free colour of the default palette.
    Formats whose readers tell classes by their colours need it.
    """
    taken = {*reserved, *(entry.color.lower() for entry in classes)}
    spare = (color for color in default_palette(len(taken) + len(classes)) if color not in taken)
    used = set(reserved)
    distinct = []
    for entry in classes:
        color = entry.color.lower()
        if color in used:
            color = next(spare)
        used.add(color)
        distinct.append(replace(entry, color=color))
    return tuple(distinct)
