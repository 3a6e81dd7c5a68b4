"""Annotations of classes that are given: those of a dataset, or of a network.

Values of masks are the classes by their place, names are matched by name, and a label map says what the
classes do not.

It knows configurations, names and messages. It reads no files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fstore.meta import ClassInfo
from pipeline.errors import UsageError, few
from pipeline.inputs.annotations.classes.label_map import IGNORED
from pipeline.settings.classes import places_of_names
from pipeline.settings.schema import AnnotationsConfig, ClassConfig

_ORIGIN = "[[annotations.classes]]"  # where messages believe that classes stand
_WAYS_OUT = {  # what they advise, and what there is of it for classes that are as they are
    f"add the class to {_ORIGIN}, or set ignore": "or say with --label-map what the label is",
    "add them there, or map them with": "map them with",
}
_FORMAT_FLAG = "--annotation-format"  # as the readers of annotations call it
_NO_FORMAT = {  # the same where the format cannot be set
    "; say which with --annotation-format": "; keep those of one format there",
    "or --annotation-format masks if its values": "or a folder of another name if its values",
    "pass --annotation-format binary": "call its masks {name}_{class}.png",
    "all as colour PNG with --annotation-format color": "all as PNG in the classes' colours",
    "; or give the classes their colours, and --annotation-format color": "; or save all masks in colours",
    "give each class its color and pass --annotation-format color": "save the masks as RGB",
    "pass --annotation-format color if the colours": "save the masks as RGB if the colours",
}
_NO_SETTINGS = {  # the same where neither what is annotated, nor a list of classes can be set
    "; if an array there is of keypoints, pass --task keypoints": "",
    "; if these are keypoints, pass --task keypoints": "",
    ": these are keypoints: pass --task keypoints": "",
    "pass it as classes_file": "call it class_names.txt",
}


def known_classes(
    folder: Path,
    classes: Sequence[ClassInfo],
    ignore: int | None,
    label_map: Path | None,
    annotation_format: str = "auto",
) -> AnnotationsConfig:
    """How annotations of these classes are read; ``ignore``, the label that counts nowhere, may be a class's,
    and then means nothing here.
    """
    return AnnotationsConfig(
        folder=folder,
        format=annotation_format,
        label_map=label_map,
        classes=tuple(ClassConfig(each.name, each.color) for each in classes),
        ignore=None if ignore is None or ignore < len(classes) else ignore,
        min_pixels=0,  # the truth is not made simpler than it is
        check=False,
    )


@contextmanager
def reworded(owner: str, format_flag: str | None = None) -> Iterator[None]:
    """A block whose messages on annotations say that the classes are those of ``owner``, and advise what
    there is to set: ``format_flag`` sets the format, None: nothing does.
    """
    with advised(format_flag):
        try:
            yield
        except UsageError as error:
            message = _replaced(str(error), _WAYS_OUT)
            raise UsageError(message.replace(_ORIGIN, f"the classes of {owner}")) from None


@contextmanager
def advised(format_flag: str | None) -> Iterator[None]:
    """A block whose messages on annotations advise what there is to set, as in `reworded`."""
    try:
        yield
    except UsageError as error:
        raise UsageError(advice(str(error), format_flag)) from None


def advice(message: str, format_flag: str | None) -> str:
    """A message or note on annotations whose format ``format_flag`` sets, or nothing if it is None."""
    ways = _NO_FORMAT if format_flag is None else {_FORMAT_FLAG: format_flag}
    return _replaced(_replaced(message, _NO_SETTINGS), ways)


def _replaced(message: str, ways: Mapping[str, str]) -> str:
    for advice, ours in ways.items():
        message = message.replace(advice, ours)
    return message


def places_of(
    names: Sequence[str] | None,
    ignore: int | None,
    classes: Sequence[ClassInfo],
    label_map: Path | None,
    owner: str,
) -> NDArray[np.int32]:
    """Label of annotations that were read -> place of its class in ``classes``, by the name, as a label map
    may have another order; IGNORED for the label ``ignore``.

    Raises UsageError for names that are none of the classes', or several of them.
    """
    known = [each.name for each in classes]
    names = names or known
    places = places_of_names(names, known)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(
            f"{label_map}: makes classes that {owner} does not have ({few(unknown)}); expected names among "
            f"{few(known, 8)}"
        )
    unclear = next((name for name, place in zip(names, places, strict=True) if place is None), None)
    if unclear is not None:
        raise UsageError(
            f"{label_map}: makes class {unclear!r}, and {owner} has {known.count(unclear)} classes of that "
            "name; which is meant is not clear: give masks whose values are the classes' numbers, without a "
            "label map"
        )
    table = np.full(max(len(names), (ignore or 0) + 1), IGNORED, np.int32)
    table[: len(names)] = np.array(places, np.int32)
    if ignore is not None:
        table[ignore] = IGNORED
    return table
