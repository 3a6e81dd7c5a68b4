"""Reads annotated photographs: a folder of pictures of any size, and annotations in any format.

It pairs each picture with its annotation and reads one at a time. It does not know what they are for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fstore.meta import ClassInfo

IGNORED = -1


@dataclass(frozen=True)
class AnnotatedPhotographs:
    """Pictures with their labels, in the order of the pictures' names.

    paths: (n) pictures. read_picture: place -> (h, w, 3) uint8, as it is shown. read_labels: (place, (H, W))
    -> (H, W) int64 labels by the classes that were asked for, IGNORED where there is none. record: what a
    file of results says of them. notes: lines for the user.
    """

    paths: tuple[Path, ...]
    read_picture: Callable[[int], NDArray[np.uint8]]
    read_labels: Callable[[int, tuple[int, int]], NDArray[np.int64]]
    record: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)


def open_photographs(
    images: Path,
    annotations: Path | None,
    *,
    classes: Sequence[ClassInfo],
    ignore: int | None,
    label_map: Path | None,
) -> AnnotatedPhotographs:
    """The pictures of a folder that are annotated; ``annotations`` None: they lie beside the pictures.

    A mask's values are the classes by their place, names are matched by name. Raises UsageError, one line,
    for pictures or annotations that are missing, broken, or of unknown classes.
    """
    raise NotImplementedError


def open_pictures(images: Path) -> tuple[tuple[Path, ...], Callable[[Path], NDArray[np.uint8]]]:
    """The pictures of a folder, by name, and what reads one as it is shown: (h, w, 3) uint8.

    Raises UsageError, one line, where there is none.
    """
    raise NotImplementedError
