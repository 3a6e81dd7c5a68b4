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
from pipeline.errors import UsageError
from pipeline.inputs.annotations.classes.known import advice, known_classes, reworded
from pipeline.inputs.annotations.label_reader import open_labels
from pipeline.inputs.annotations.load import open_annotations
from pipeline.inputs.annotations.raster.fitting import aspect_error, stretch_nearest
from pipeline.inputs.annotations.source import AnnotationSource
from pipeline.inputs.photograph_pairs import Opened, pair_pictures
from pipeline.inputs.pictures.read import picture_files, read_picture, read_size
from pipeline.settings.classes import IGNORE_NAME
from pipeline.settings.schema import AnnotationsConfig, ClassConfig

IGNORED = -1


@dataclass(frozen=True)
class AnnotatedPhotographs:
    """Pictures with their labels, in the order of the pictures' names.

    paths: (n) pictures. read_picture: place -> (h, w, 3) uint8, as it is shown. read_labels: (place, (H, W))
    -> (H, W) int64 labels by the classes that were asked for, IGNORED where there is none. record: what a
    file of results says of them; its ``sha256`` is of all labels. notes: lines for the user.
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
    owner: str = "the segmenter",
    annotation_format: str = "auto",
    format_flag: str = "--annotation-format",
) -> AnnotatedPhotographs:
    """The pictures of a folder that are annotated; ``annotations`` None: they lie beside the pictures.

    Pictures and annotations are paired as `pipeline.inputs.photograph_pairs` says. A mask's values are the
    classes by their place, names are matched by name. For messages ``owner`` is whose classes they are, and
    ``format_flag`` what sets ``annotation_format``. All annotations are read once here. They are resized from
    their own size to the one that is asked for, to the nearest as Pillow does it.

    Raises UsageError, one line, for pictures or annotations that are missing, broken, or of unknown classes,
    and for an annotation of another aspect than its picture.
    """
    pictures, folder = picture_files(images), annotations or images
    config = known_classes(folder, classes, ignore, label_map, annotation_format)

    def open_them() -> Opened[AnnotationSource]:
        source = open_annotations(config)
        return Opened(source, source.location, source.files)

    with reworded(owner, format_flag):
        pairs = pair_pictures(pictures, folder, open_them)
    source, paths = pairs.opened.value, dict(zip(pairs.numbers, pairs.pictures, strict=True))
    reader = open_labels(
        source,
        pairs.numbers,
        config,
        classes,
        label_map=label_map,
        owner=owner,
        format_flag=format_flag,
        check_size=lambda number, size: _check_size(paths[number], source.where(number), size),
    )

    def read_labels(place: int, size: tuple[int, int]) -> NDArray[np.int64]:
        return stretch_nearest(reader.read(pairs.numbers[place]), *size).astype(np.int64)

    record = {
        "images": str(images),
        "annotations": str(source.location),
        "format": source.format,
        "paired_by": pairs.how,
        "label_map": None if label_map is None else str(label_map),
        "sha256": reader.sha256,
    }
    return AnnotatedPhotographs(
        pairs.pictures,
        lambda place: read_picture(pairs.pictures[place]),
        read_labels,
        record,
        tuple(advice(note, format_flag) for note in (*pairs.notes, *reader.notes)),
    )


def listed_classes(
    images: Path, annotations: Path | None, annotation_format: str = "auto"
) -> tuple[tuple[ClassConfig, ...], Path] | None:
    """The classes in the order of their values, as a file beside annotations lists them, and that file.

    None where there is no such list, or where annotations cannot be opened, which `open_photographs` says.
    """
    folder = annotations or images

    def open_them() -> Opened[AnnotationSource]:
        source = open_annotations(AnnotationsConfig(folder=folder, format=annotation_format))
        return Opened(source, source.location, source.files)

    try:
        source = pair_pictures(picture_files(images), folder, open_them).opened.value
    except UsageError:
        return None
    classes = tuple(entry for entry in source.classes if entry.name.casefold() != IGNORE_NAME)
    return None if not classes or source.classes_from is None else (classes, source.classes_from)


def open_pictures(images: Path) -> tuple[tuple[Path, ...], Callable[[Path], NDArray[np.uint8]]]:
    """The pictures of a folder, by name, and what reads one as it is shown: (h, w, 3) uint8.

    Raises UsageError, one line, where there is none.
    """
    return picture_files(images), read_picture


def _check_size(picture: Path, annotation: str, size: tuple[int, int]) -> None:
    """Refuse an annotation that is not of its picture's size, nor of its aspect."""
    shown = read_size(picture)
    if shown != size and aspect_error(size, shown) >= 1:
        raise UsageError(
            f"{annotation}: is {size[0]} x {size[1]} (rows x columns), and its picture {picture} "
            f"{shown[0]} x {shown[1]}; expected the same size, or the same aspect"
        )
