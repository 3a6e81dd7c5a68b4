"""Colours of classes: far apart where nobody chose them, and one palette for the palettes of many files.

Knows neither stores nor what a class is called.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pipeline.errors import UsageError


def default_palette(num_classes: int) -> list[str]:
    """``num_classes`` colours "#rrggbb": black for background, then each as far from those before as can be.

    The colours of fewer classes are the first of those of more. Far means distant in RGB, on a lattice of 216
    colours; past these, colours are merely scattered.
    """
    levels = np.arange(0, 256, 51)
    lattice = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(
        -1, 3
    )  # [216, rgb]
    chosen = [0]
    nearest = np.full(len(lattice), np.inf)  # squared distance of each colour to the chosen ones
    while len(chosen) < min(num_classes, len(lattice)):
        nearest = np.minimum(nearest, ((lattice - lattice[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(nearest.argmax()))
    colors = ["#{:02x}{:02x}{:02x}".format(*lattice[i]) for i in chosen]
    colors += [f"#{i * 0x9E3779 % 0xFFFFFF:06x}" for i in range(len(lattice), num_classes)]
    return colors[:num_classes]


def common_palette(
    files: Iterable[tuple[str, tuple[str, ...] | None, list[int]]], num_classes: int
) -> tuple[str, ...] | None:
    """The classes' colours as the palettes of ``files`` have them: (name, palette, labels that it uses) of
    each.

    None if no file has one. Two colours for one label are refused: converting colour pictures to palettes one
    by one numbers the colours of each anew, and a label would mean one class here and another there.
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
