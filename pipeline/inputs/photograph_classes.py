"""Says of which classes annotated photographs are, where nothing else says it: no dataset, no segmenter.

It reads the annotations once and keeps none of them. It knows no pictures but by their names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fstore.meta import ClassInfo
from pipeline.inputs.annotations.classes.known import advised
from pipeline.inputs.annotations.classes.tally import LabelTally
from pipeline.inputs.annotations.load import open_annotations, settle, value_reader, with_ignore
from pipeline.inputs.annotations.source import AnnotationSource
from pipeline.inputs.photograph_pairs import Opened, pair_pictures
from pipeline.inputs.pictures.read import picture_files
from pipeline.machine.progress import progress
from pipeline.settings.classes import default_names, default_palette
from pipeline.settings.schema import AnnotationsConfig


def photograph_classes(
    images: Path,
    annotations: Path | None,
    config: AnnotationsConfig,
    label_map: Path | None,
    annotation_format: str = "auto",
    format_flag: str = "--annotation-format",
) -> tuple[tuple[ClassInfo, ...], int | None]:
    """The classes of the pictures in ``images`` that are annotated, and the label that counts nowhere.

    They are those of the label map, else the configured ones (``config`` has names, colours, number and
    ``ignore``), else those that the annotations name, else as many as the greatest label needs. For messages
    ``format_flag`` is what sets ``annotation_format``. Raises UsageError, one line, for annotations that are
    missing, broken, or contradict each other.
    """
    pictures, folder = picture_files(images), annotations or images
    config = replace(config, folder=folder, format=annotation_format, label_map=label_map, min_pixels=0)

    def open_them() -> Opened[AnnotationSource]:
        source = open_annotations(config)
        return Opened(source, source.location, source.files)

    with advised(format_flag):
        pairs = pair_pictures(pictures, folder, open_them)
        return _settled(pairs.opened.value, pairs.numbers, config)


def _settled(
    source: AnnotationSource, numbers: Sequence[int], config: AnnotationsConfig
) -> tuple[tuple[ClassInfo, ...], int | None]:
    config, tally = with_ignore(source, config), LabelTally()
    read = value_reader(source, config)
    with progress("reading classes", len(numbers), "images") as bar:
        for number in numbers:
            read(number, tally)
            bar.advance()
    settled = settle(source, tally, config)
    names = settled.names or default_names(settled.num_classes)
    colors = settled.palette or default_palette(settled.num_classes)
    classes = (ClassInfo(i, name, color) for i, (name, color) in enumerate(zip(names, colors, strict=True)))
    return tuple(classes), settled.ignore
