"""Reads annotations of given classes one image at a time: of a set that need not fit in memory.

All images are read once beforehand, to check them and to learn what their values mean: what a value is may
follow only from all of them. It knows no pictures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fstore.meta import ClassInfo
from pipeline.errors import RunError
from pipeline.inputs.annotations.classes.known import places_of, reworded
from pipeline.inputs.annotations.classes.tally import LabelTally
from pipeline.inputs.annotations.load import settle, value_reader, with_ignore
from pipeline.inputs.annotations.source import AnnotationSource
from pipeline.machine.progress import progress
from pipeline.settings.schema import AnnotationsConfig


@dataclass(frozen=True)
class LabelReader:
    """Labels of images, by their numbers, as places in the classes that were asked for.

    read: number -> (h, w) int32 of the annotation's own size, IGNORED where a pixel has none. Raises RunError
    where a file is no longer what it was. sha256: of all images' labels, in their order. notes: lines for the
    user.
    """

    read: Callable[[int], NDArray[np.int32]]
    sha256: str
    notes: tuple[str, ...]


def open_labels(
    source: AnnotationSource,
    numbers: Sequence[int],
    config: AnnotationsConfig,
    classes: Sequence[ClassInfo],
    *,
    label_map: Path | None,
    owner: str,
    check_size: Callable[[int, tuple[int, int]], None],
) -> LabelReader:
    """Read the annotations of the images ``numbers`` once, and say how one of them is read again.

    ``config`` is that of `pipeline.inputs.annotations.classes.known`; ``classes`` are those of ``owner``.
    ``check_size`` is told the number and (h, w) of each image. Raises UsageError, one line, for annotations
    that are broken or of other classes.
    """
    tally, read_values, digest = LabelTally(), value_reader(source, config), hashlib.sha256()
    config = with_ignore(source, config)
    with reworded(owner), progress("reading annotations", len(numbers), "images") as bar:
        for number in numbers:
            values = read_values(number, tally)
            check_size(number, values.shape)
            digest.update(repr(values.shape).encode())
            digest.update(np.ascontiguousarray(values).data)
            bar.advance()
        settled = settle(source, tally, config)
        meanings = places_of(settled.names, settled.ignore, classes, label_map, owner)
    table: NDArray[np.int32] = meanings[settled.table.astype(np.int64)]  # [values met]
    digest.update(repr(list(tally.values)).encode() + table.tobytes())
    known = {value: int(table[place]) for value, place in tally.values.items()}

    def read(number: int) -> NDArray[np.int32]:
        labels: NDArray[Any] = source.read(number).labels
        found, inverse = np.unique(labels, return_inverse=True)
        try:
            places = [known[value] for value in found.astype(np.int64).tolist()]
        except KeyError:
            raise RunError(f"{source.where(number)}: has changed since it was read; begin again") from None
        return np.array(places, np.int32)[inverse].reshape(labels.shape)

    return LabelReader(read, digest.hexdigest(), settled.notes)
