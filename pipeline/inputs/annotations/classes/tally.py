"""Counts the labels of masks as they are read, checks that they are in range, and compares the palettes.

It knows values. It does not know which classes they are: that can be said only when all masks are read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.settings.classes import default_palette


@dataclass
class LabelTally:
    """What was read so far. A mutable tally: ``values[k]`` is the k-th value met in any mask.

    pixels, files: how many pixels a value has, and in which files. shown: name, palette and labels of each
    file, ignored ones aside. transparent: how many transparent pixels a file has, of those that have some.
    """

    values: dict[int, int] = field(default_factory=dict)  # value -> k
    pixels: dict[int, int] = field(default_factory=dict)  # value -> pixels of it
    files: dict[int, list[str]] = field(default_factory=dict)
    shown: list[tuple[str, tuple[str, ...] | None, list[int]]] = field(default_factory=list)
    transparent: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, labels: NDArray[Any]) -> NDArray[np.uint32]:
        """(h, w) labels -> (h, w) uint32 of k, counting what is there."""
        found, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
        for value, count in zip(found.astype(np.int64).tolist(), counts.tolist(), strict=True):
            self.values.setdefault(value, len(self.values))
            self.pixels[value] = self.pixels.get(value, 0) + count
            self.files.setdefault(value, []).append(name)
        places = np.array([self.values[value] for value in found.astype(np.int64).tolist()], np.uint32)
        return places[inverse].reshape(labels.shape)


def check_range(
    where: str, labels: NDArray[Any], num_classes: int, allowed: Collection[int], way_out: str
) -> None:
    """Raise UsageError, one line beginning with ``where``, for a label that is neither below ``num_classes``
    nor ``allowed``.
    """
    outside = (labels < 0) | (labels >= num_classes)
    for label in allowed:
        outside &= labels != label
    if not outside.any():
        return
    row, column = (int(i) for i in np.argwhere(outside)[0])
    also = "".join(f", or {label} (ignored)" for label in sorted(allowed))
    raise UsageError(
        f"{where}: label {labels[row, column]} at row {row}, column {column} is out of range, as "
        f"{int(outside.sum())} of {labels.size} pixels are; expected 0 to {num_classes - 1}{also}: "
        f"mend the mask, {way_out}, or set ignore"
    )


def common_palette(
    files: Iterable[tuple[str, tuple[str, ...] | None, list[int]]], num_classes: int
) -> tuple[str, ...] | None:
    """The classes' colours in the palettes of ``files``, each (name, palette, labels that it uses).

    None if no file has a palette. Two colours for one label are refused. When colour pictures are converted
    to palettes one by one, the colours of each are numbered anew, and one label would mean several classes.
    """
    colors: list[str] | None = None
    first: dict[int, tuple[str, str]] = {}
    for name, palette, labels in files:
        if palette is None:
            continue
        if colors is None:
            colors = [*palette[:num_classes], *default_palette(num_classes)[len(palette) :]]
        for label in [label for label in labels if label < min(len(palette), num_classes)]:
            color, where = first.setdefault(label, (palette[label], name))
            if color != palette[label]:
                raise UsageError(
                    f"{name}: its palette shows label {label} as {palette[label]}, that of {where} "
                    f"as {color}; expected one palette for all masks: save them with one, or as greyscale (L)"
                )
            colors[label] = color
    return None if colors is None else tuple(colors)
