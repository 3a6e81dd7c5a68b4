"""Reads annotations of given classes one image at a time: of a set that need not fit in memory.

All images are read once beforehand, to check them and to learn what their values mean: what a value is may
follow only from all of them. It knows no pictures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fstore.meta import ClassInfo
from pipeline.errors import RunError, UsageError
from pipeline.inputs.annotations.classes.known import places_of, reworded
from pipeline.inputs.annotations.classes.tally import LabelTally
from pipeline.inputs.annotations.load import settle, value_reader, with_ignore
from pipeline.inputs.annotations.source import AnnotationSource
from pipeline.machine.progress import progress
from pipeline.settings.schema import AnnotationsConfig

_UNSEEN = -2
_TABLE = 2**16


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
    format_flag: str,
    check_size: Callable[[int, tuple[int, int]], None],
) -> LabelReader:
    """Read the annotations of the images ``numbers`` once, and say how one of them is read again.

    ``config`` is that of `pipeline.inputs.annotations.classes.known`; ``classes`` are those of ``owner``, and
    ``format_flag`` sets the annotations' format, for messages. ``check_size`` is told the number and (h, w)
    of each image. Raises UsageError, one line, for annotations that are broken or of other classes, and where
    no pixel of any has a class.
    """
    config = with_ignore(source, config)
    tally, read_values, digest = LabelTally(), value_reader(source, config), hashlib.sha256()
    with reworded(owner, format_flag), progress("reading annotations", len(numbers), "images") as bar:
        for number in numbers:
            values = read_values(number, tally)
            check_size(number, values.shape)
            digest.update(repr(values.shape).encode())
            digest.update(np.ascontiguousarray(values).data)
            bar.advance()
        settled = settle(source, tally, config)
        meanings = places_of(settled.names, settled.ignore, classes, label_map, owner)
    table: NDArray[np.int32] = meanings[settled.table.astype(np.int64)]  # [values met]
    if (table < 0).all():
        raise UsageError(
            f"{source.location}: every pixel is ignored, by its label or by the label map; "
            f"expected pixels of the classes of {owner}"
        )
    digest.update(repr(list(tally.values)).encode() + table.tobytes())
    look_up = _look_up({value: int(table[place]) for value, place in tally.values.items()})

    def read(number: int) -> NDArray[np.int32]:
        labels = look_up(source.read(number).labels)
        if (labels == _UNSEEN).any():
            raise RunError(f"{source.where(number)}: has changed since it was read; begin again")
        return labels

    return LabelReader(read, digest.hexdigest(), settled.notes)


def _look_up(known: Mapping[int, int]) -> Callable[[NDArray[Any]], NDArray[np.int32]]:
    """What looks up each value of an array, _UNSEEN for others: in a table where values are small, which is
    faster than to sort them.
    """
    if all(0 <= value < _TABLE for value in known):
        table = np.full(_TABLE + 1, _UNSEEN, np.int32)
        table[list(known)] = list(known.values())

        def in_table(labels: NDArray[Any]) -> NDArray[np.int32]:
            values = labels.astype(np.int64, copy=False)
            outside = (values < 0) | (values >= _TABLE)
            return table[np.where(outside, _TABLE, values)]

        return in_table

    def sorted_first(labels: NDArray[Any]) -> NDArray[np.int32]:
        found, inverse = np.unique(labels, return_inverse=True)
        meanings = [known.get(value, _UNSEEN) for value in found.astype(np.int64).tolist()]
        return np.array(meanings, np.int32)[inverse].reshape(labels.shape)

    return sorted_first
