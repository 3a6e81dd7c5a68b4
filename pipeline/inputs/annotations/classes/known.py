"""Annotations of classes that are given: those of a dataset, or of a network.

Values of masks are the classes by their place, names are matched by name, and a label map says what the
classes do not.

It knows configurations, names and messages. It reads no files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fstore.meta import ClassInfo
from pipeline.errors import UsageError, few
from pipeline.inputs.annotations.classes.label_map import IGNORED
from pipeline.settings.schema import AnnotationsConfig, ClassConfig

_ORIGIN = "[[annotations.classes]]"  # where messages believe that classes stand
_WAYS_OUT = {  # what they advise, and what there is of it for classes that are as they are
    f"add the class to {_ORIGIN}, or set ignore": "or say with --label-map what the label is",
    "add them there, or map them with": "map them with",
}


def known_classes(
    folder: Path, classes: Sequence[ClassInfo], ignore: int | None, label_map: Path | None
) -> AnnotationsConfig:
    """How annotations of these classes are read; ``ignore``, the label that counts nowhere, may be a class's,
    and then means nothing here.
    """
    return AnnotationsConfig(
        folder=folder,
        label_map=label_map,
        classes=tuple(ClassConfig(each.name, each.color) for each in classes),
        ignore=None if ignore is None or ignore < len(classes) else ignore,
        min_pixels=0,  # the truth is not made simpler than it is
        check=False,
    )


@contextmanager
def reworded(owner: str) -> Iterator[None]:
    """A block whose messages on annotations say that the classes are those of ``owner``."""
    try:
        yield
    except UsageError as error:
        message = str(error)
        for advice, ours in _WAYS_OUT.items():
            message = message.replace(advice, ours)
        raise UsageError(message.replace(_ORIGIN, f"the classes of {owner}")) from None


def places_of(
    names: Sequence[str] | None,
    ignore: int | None,
    classes: Sequence[ClassInfo],
    label_map: Path | None,
    owner: str,
) -> NDArray[np.int32]:
    """Label of annotations that were read -> place of its class in ``classes``, by the name, as a label map
    may have another order; IGNORED for the label ``ignore``.

    Raises UsageError for names that are none of the classes'.
    """
    index = {each.name: place for place, each in enumerate(classes)}
    names = names or tuple(index)
    unknown = [name for name in names if name not in index]
    if unknown:
        raise UsageError(
            f"{label_map}: makes classes that {owner} does not have ({few(unknown)}); expected names among "
            f"{few(tuple(index), 8)}"
        )
    table = np.full(max(len(names), (ignore or 0) + 1), IGNORED, np.int32)
    table[: len(names)] = [index[name] for name in names]
    if ignore is not None:
        table[ignore] = IGNORED
    return table
