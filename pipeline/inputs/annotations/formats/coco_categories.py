"""COCO's categories: the labels that they are, and the classes that they make where they have colours.

``color`` is [red, green, blue], as panoptic files have it, or "#rrggbb", as COCO Annotator writes it. This
module knows no annotations and no pixels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fstore.meta import LARGEST_LABEL
from pipeline.errors import UsageError, count
from pipeline.inputs.annotations.source import SourceLabel, label_text
from pipeline.settings.classes import BACKGROUND_NAMES
from pipeline.settings.schema import ClassConfig

_COLOR = re.compile(r"#[0-9a-f]{6}", re.IGNORECASE)


def labels_of(path: Path, entries: Mapping[int, dict[str, Any]]) -> dict[int, SourceLabel]:
    """Category id -> label, in the order of the ids. Raises UsageError for a name that cannot be shown."""
    if len(entries) > LARGEST_LABEL:
        raise UsageError(f"{path}: has {count(len(entries), 'category')}; expected at most {LARGEST_LABEL}")
    return {
        key: SourceLabel(key, (label_text(entry.get("name"), f"{path}: category {key}: name"),))
        for key, entry in sorted(entries.items())
    }


def has_colors(entries: Mapping[int, dict[str, Any]]) -> bool:
    """Whether any category has a colour."""
    return any(_color(entry) for entry in entries.values())


def classes_of(
    entries: Mapping[int, dict[str, Any]], labels: Mapping[int, SourceLabel], *, add_background: bool = True
) -> tuple[ClassConfig, ...]:
    """The categories as classes with their colours, in the order of the ids; of one name the first counts.

    ``add_background``: put the background first where no category is it. Categories that are ignored are no
    classes.
    """
    classes: dict[str, ClassConfig] = {}
    for key, label in labels.items():
        if not label.is_ignored:
            name = BACKGROUND_NAMES[0] if label.is_background else label.names[0]
            classes.setdefault(name.casefold(), ClassConfig(name, _color(entries[key])))
    if add_background and BACKGROUND_NAMES[0] not in classes:
        return (ClassConfig(BACKGROUND_NAMES[0], None), *classes.values())
    return tuple(classes.values())


def _color(entry: Mapping[str, Any]) -> str | None:
    """ "#rrggbb", or None where the entry has no colour, or one of another kind."""
    value = entry.get("color")
    if isinstance(value, str):
        return value.lower() if _COLOR.fullmatch(value) else None
    if not isinstance(value, list) or len(value) != 3:
        return None
    if any(type(part) is not int or not 0 <= part <= 255 for part in value):
        return None
    return "#{:02x}{:02x}{:02x}".format(*value)
