"""The annotated photographs of an experiment: a fifth of them is tested on, the others may be learnt.

It knows photographs and classes. It knows no networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError, count
from pipeline.inputs.photograph_classes import photograph_classes
from pipeline.inputs.photographs import AnnotatedPhotographs, open_photographs
from pipeline.inputs.pictures.read import read_size
from pipeline.machine.random_streams import Purpose, counter_based
from pipeline.segment.training.data import PhotographSource, Task
from pipeline.segment.training.images import OpenedImages
from pipeline.settings.schema import REAL, Config

TESTED_PART = 5
"""One of so many photographs is tested on."""
FORMAT_FLAG = "--real-annotation-format"


@dataclass(frozen=True)
class RealImages:
    """Annotated photographs, and the places of those that are learnt and of those that are tested on."""

    photographs: AnnotatedPhotographs
    learnt: tuple[int, ...]
    tested: tuple[int, ...]

    @property
    def source(self) -> PhotographSource:
        """Those that are learnt."""
        return PhotographSource(self.photographs, self.learnt)

    @property
    def to_test(self) -> AnnotatedPhotographs:
        """Those that are tested on, as if there were no others."""
        return at_places(self.photographs, self.tested)

    @property
    def tested_names(self) -> list[str]:
        """Their files' names."""
        return [self.photographs.paths[place].name for place in self.tested]


def at_places(photographs: AnnotatedPhotographs, places: Sequence[int]) -> AnnotatedPhotographs:
    """Some of the photographs, as if there were no others."""

    def read_picture(place: int) -> NDArray[np.uint8]:
        return photographs.read_picture(places[place])

    def read_labels(place: int, size: tuple[int, int]) -> NDArray[np.int64]:
        return photographs.read_labels(places[place], size)

    paths = tuple(photographs.paths[place] for place in places)
    return replace(photographs, paths=paths, read_picture=read_picture, read_labels=read_labels)


def split_places(num: int, seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The places of ``num`` photographs that may be learnt, and of those that are tested on, both ascending.

    Tested on is a fifth, rounded down, and at least one: the first of a random order that follows from the
    seed and the number alone.
    """
    order = counter_based(Purpose.REAL_SPLIT, seed, 0).permutation(num).tolist()
    num_tested = max(1, num // TESTED_PART)
    return tuple(sorted(order[num_tested:])), tuple(sorted(order[:num_tested]))


def open_real_images(config: Config, task: Task, owner: str) -> RealImages:
    """The photographs that ``config.segment`` names, of the classes of ``task``, which ``owner`` has.

    Raises UsageError, one line, for photographs and annotations that are missing or broken, of other classes,
    or too few.
    """
    options = config.segment
    assert options.real_images is not None
    if task.keypoints is not None:
        raise UsageError(
            f"{owner} holds keypoints, and photographs are learnt with classes; leave --real-images "
            f"{options.real_images} out"
        )
    photographs = open_photographs(
        options.real_images,
        options.real_annotations,
        classes=task.classes,
        ignore=task.ignore,
        label_map=real_label_map(config),
        owner=owner,
        annotation_format=options.real_annotation_format,
        format_flag=FORMAT_FLAG,
    )
    if len(photographs) < 2:
        raise UsageError(
            f"{options.real_images}: {count(len(photographs), 'annotated photograph')}; expected at least 2, "
            "one to learn from and one to test on"
        )
    rest, tested = split_places(len(photographs), options.seed)
    if options.num_real is not None and options.num_real > len(rest):
        raise UsageError(
            f"{options.real_images}: has {count(len(photographs), 'annotated photograph')}, of which "
            f"{len(tested)} are tested on and {len(rest)} may be learnt; --num-real is {options.num_real}: "
            f"pass {len(rest)} or less, or leave it out"
        )
    return RealImages(photographs, rest[: options.num_real], tested)


def open_real_alone(config: Config) -> tuple[RealImages, OpenedImages]:
    """The photographs where no dataset says what is learnt: their annotations, or the configuration, do.

    Their size is the one that all have. Raises UsageError, also where they differ and no resolution is set.
    """
    options = config.segment
    assert options.real_images is not None
    classes, ignore = photograph_classes(
        options.real_images,
        options.real_annotations,
        config.annotations,
        real_label_map(config),
        options.real_annotation_format,
        FORMAT_FLAG,
    )
    task = Task(classes, ignore, None)
    real = open_real_images(config, task, str(options.real_annotations or options.real_images))
    size = (0, 0) if options.resolution is not None else _common_size(real.photographs.paths)
    return real, OpenedImages(real.source, size, task, real.photographs.notes)


def real_label_map(config: Config) -> Path | None:
    """The label map of the photographs' annotations: that of tests, as these are their classes.

    ``--label-map`` is of the dataset's classes. Where there is no dataset it is of the photographs'.
    """
    alone = config.segment.label_map if config.segment.only == REAL else None
    return config.segment_test.label_map or alone


def _common_size(paths: Sequence[Path]) -> tuple[int, int]:
    """(height, width) of all pictures. Raises UsageError where two differ."""
    first = read_size(paths[0])
    for path in paths[1:]:
        found = read_size(path)
        if found != first:
            raise UsageError(
                f"{path}: is {found[0]} x {found[1]} (rows x columns), and {paths[0].name} {first[0]} x "
                f"{first[1]}; pass --resolution, the side of a square that all are resized to"
            )
    return first
