"""Counting the labels of masks as they are read, and checking that they are in range.

Knows values, not which classes they are: that can be told only once all masks are read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError


@dataclass
class LabelTally:
    """What was read so far. A mutable tally: ``values[k]`` is the k-th value met in any mask.

    pixels, files: how many pixels a value has, and in which files. shown: name, palette and labels of each
    file, ignored ones aside.
    """

    values: dict[int, int] = field(default_factory=dict)  # value -> k
    pixels: dict[int, int] = field(default_factory=dict)  # value -> pixels of it
    files: dict[int, list[str]] = field(default_factory=dict)
    shown: list[tuple[str, tuple[str, ...] | None, list[int]]] = field(default_factory=list)

    def add(self, name: str, labels: NDArray[Any]) -> NDArray[Any]:
        """(h, w) labels -> (h, w) uint32 of k, counting what is there."""
        found, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
        for value, count in zip(found.astype(np.int64).tolist(), counts.tolist(), strict=True):
            self.values.setdefault(value, len(self.values))
            self.pixels[value] = self.pixels.get(value, 0) + count
            self.files.setdefault(value, []).append(name)
        places = np.array([self.values[value] for value in found.astype(np.int64).tolist()], np.uint32)
        return places[inverse].reshape(labels.shape)


def check_range(where: str, labels: NDArray[Any], num_classes: int, ignore: int | None, way_out: str) -> None:
    outside = (labels < 0) | (labels >= num_classes)
    if ignore is not None:
        outside &= labels != ignore
    if not outside.any():
        return
    row, column = (int(i) for i in np.argwhere(outside)[0])
    also = "" if ignore is None else f", or {ignore} (ignored)"
    raise UsageError(
        f"{where}: label {labels[row, column]} at row {row}, column {column} is out of range, as "
        f"{int(outside.sum())} of {labels.size} pixels are; expected 0 to {num_classes - 1}{also}: "
        f"mend the mask, {way_out}, or set ignore"
    )
