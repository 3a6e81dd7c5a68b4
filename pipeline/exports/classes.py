"""The classes of an export: those of the store, or what a label map makes of them.

It knows classes and labels. It knows no stores and no files but the label map, which
``pipeline.inputs.annotations.classes.label_map`` reads and specifies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fstore.meta import ClassInfo
from pipeline.errors import UsageError, few
from pipeline.inputs.annotations.classes.label_map import (
    IGNORED,
    LabelMap,
    map_labels,
    nearest_name,
    read_label_map,
)
from pipeline.inputs.annotations.source import SourceLabel
from pipeline.settings.classes import IGNORE_NAME, default_palette
from pipeline.settings.schema import ClassConfig

SMALL, LARGE = 255, 65535  # the greatest label of one byte and of two


@dataclass(frozen=True)
class ClassMapping:
    """``classes`` of the export; ``ignore``, the label of pixels that belong to none, or None.

    table: the new label of each old one, [labels], or None where labels stay as they are.
    """

    classes: tuple[ClassInfo, ...]
    ignore: int | None
    table: np.ndarray | None = None

    def apply(self, labels: np.ndarray) -> np.ndarray:
        """Labels of the export from those of the store, (H, W)."""
        return labels if self.table is None else self.table[labels]


def identity(classes: Sequence[ClassInfo], ignore: int | None) -> ClassMapping:
    """The classes as the store has them."""
    return ClassMapping(tuple(classes), ignore)


def read_mapping(path: Path, classes: Sequence[ClassInfo], ignore: int | None, where: str) -> ClassMapping:
    """The mapping of a label map's file. ``where`` is the store, for messages.

    Raises UsageError for a file that cannot be read, for a class that it does not mention, and for one that
    it mentions and the store does not have.
    """
    label_map = read_label_map(path)
    labels = [SourceLabel(entry.id, (entry.name, entry.color)) for entry in classes]
    _refuse_strangers(label_map, labels, where)
    targets, found = map_labels(label_map, labels)
    unknown = [entry.name for entry, target in zip(classes, targets, strict=True) if target is None]
    if unknown:
        raise UsageError(
            f"{where}: classes that {path} does not mention: {few(unknown, 6)}; put each in a class's from "
            'or in drop, or set rest = "background", "ignore" or "keep"'
        )
    known = [IGNORED if target is None else target for target in targets]
    if IGNORED in known and ignore is None:
        ignore = SMALL if len(found) <= SMALL else LARGE
    merged = tuple(
        ClassInfo(i, entry.name, color)
        for i, (entry, color) in enumerate(zip(found, _colors(found, classes, known), strict=True))
    )
    return ClassMapping(merged, ignore, _table(known, merged, ignore))


def _refuse_strangers(label_map: LabelMap, labels: Sequence[SourceLabel], where: str) -> None:
    """Raises UsageError for labels in ``from`` and ``drop`` that the store does not have: with ``rest``, a
    class whose name is mistyped would go elsewhere without a word.
    """
    keys = [key for keys in (*label_map.sources, label_map.drop) for key in keys]
    strangers = [key for key in keys if key != IGNORE_NAME and not any(label.has(key) for label in labels)]
    if strangers:
        names = [label.names[0] for label in labels]
        near = nearest_name(str(strangers[0]), names)
        raise UsageError(
            f"{label_map.path}: {few([repr(key) for key in strangers], 6)} is no class of {where}, which has "
            f"{few(names, 6)}" + (f"; the nearest is {near!r}" if near else "") + "; mend or remove it"
        )


def _table(targets: Sequence[int], classes: Sequence[ClassInfo], ignore: int | None) -> np.ndarray:
    largest = max(len(classes) - 1, ignore or 0)
    dtype = np.uint8 if largest <= SMALL else np.uint16
    table = np.zeros(max(len(targets), (ignore or 0) + 1), dtype)
    for label, target in enumerate(targets):
        table[label] = (ignore or 0) if target == IGNORED else target
    if ignore is not None and ignore >= len(targets):
        table[ignore] = ignore
    return table


def _colors(found: Sequence[ClassConfig], classes: Sequence[ClassInfo], targets: Sequence[int]) -> list[str]:
    """The colour of each new class: the map's, else that of the first class that goes into it, else one of
    the default palette. No two are equal.
    """
    spare = iter(default_palette(len(found) + len(classes) + 1)[1:])
    taken = {entry.color for entry in found if entry.color}
    colors: list[str] = []
    for place, entry in enumerate(found):
        sources = [c.color for c, target in zip(classes, targets, strict=True) if target == place]
        free = [color for color in sources if color not in taken]
        color = entry.color or (free[0] if free else next(c for c in spare if c not in taken))
        taken.add(color)
        colors.append(color)
    return colors
