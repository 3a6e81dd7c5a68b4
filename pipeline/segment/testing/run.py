"""`dgan segment test`: prepares a run, and carries it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from pipeline.evaluation.files import FiguresKind, check_out, picture_path, write_files
from pipeline.inputs.annotations.classes.label_map import read_label_map
from pipeline.inputs.photograph_keypoints import open_photograph_keypoints
from pipeline.inputs.photographs import listed_classes, open_photographs
from pipeline.segment.folder import open_segmenter
from pipeline.segment.testing.checks import (
    check_images,
    check_num_classes,
    check_of_labels,
    check_released_filter,
    number_of_folds,
)
from pipeline.segment.testing.document import KIND, label_scores, point_scores
from pipeline.segment.testing.job import Photographs, ScoringJob
from pipeline.segment.testing.measure import measure
from pipeline.segment.testing.picture import picture_of
from pipeline.segment.testing.saved import SavedEpochs, saved_folder
from pipeline.segment.testing.table import table_of
from pipeline.segment.trained import TrainedSegmenter, open_trained, with_classes
from pipeline.settings.classes import configured_classes
from pipeline.settings.file_names import check_names
from pipeline.settings.schema import Config

SCORES = FiguresKind(KIND, "dgan segment test", "scores.json")


def prepare(segmenter: Path, config: Config, *, released_filter: bool, overwrite: bool) -> ScoringJob:
    """Read and check what is given: all annotations once, and no picture.

    Raises UsageError, one line, for a segmenter, pictures or annotations that cannot be used or do not belong
    together, and for a place that cannot be written to.
    """
    options = config.segment_test
    images = check_images(options)
    check_names(saved_folder(options.out))  # the longest of the names that are written
    check_out(options.out, SCORES, overwrite=overwrite)
    if released_filter:
        check_released_filter(open_segmenter(segmenter))
    trained = open_trained(segmenter, options.resolution)
    check_of_labels(trained, options)
    check_num_classes(trained, options, config.source)
    if trained.folder.info is None:
        trained = _named(trained, config, images)
    photographs = _photographs(trained, config, images)
    folds, more = number_of_folds(options.cross_validate, len(photographs))
    epochs = tuple(trained.folder.epochs) if folds else (trained.last_epoch,)
    notes = (*trained.notes, *photographs.notes, *more)
    return ScoringJob(trained, photographs, options.out, folds, epochs, overwrite, notes)


def test(job: ScoringJob, device: torch.device, *, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure, write the files, and return the figures, as the JSON has them.

    An interrupted run goes on with the pictures that are left. Raises UsageError where it was begun with
    other inputs, and RunError where a file changes meanwhile.
    """
    for note in job.notes:
        say(note)
    saved = SavedEpochs(job.out, job.identity())
    weights = {epoch: job.segmenter.weights_sha256(epoch) for epoch in job.epochs}
    saved.begin(weights, overwrite=job.overwrite)
    sums = measure(job, device, saved, weights)
    scores = (point_scores if job.has_points else label_scores)(job, sums, weights)
    write_files(job.out, SCORES, scores, picture_of(scores))
    saved.remove()
    return scores


def table_lines(figures: Mapping[str, Any], out: Path) -> list[str]:
    """The figures as tables for people, then the files that hold them."""
    return [*table_of(figures), "", f"{out}: the scores; {picture_path(out)}: the picture"]


def _photographs(trained: TrainedSegmenter, config: Config, images: Path) -> Photographs:
    options, owner = config.segment_test, str(trained.folder.path)
    if trained.keypoints is not None:
        names = trained.keypoints.names
        return open_photograph_keypoints(images, options.annotations, names=names, owner=owner)
    return open_photographs(
        images,
        options.annotations,
        classes=trained.classes,
        ignore=trained.ignore,
        label_map=options.label_map,
        owner=owner,
        annotation_format=options.annotation_format,
    )


def _named(trained: TrainedSegmenter, config: Config, images: Path) -> TrainedSegmenter:
    """A released segmenter with the classes that the configuration lists, else the annotations' own, if these
    are as many as its outputs.
    """
    classes, origin = configured_classes(config.annotations)
    label_map, outputs = config.annotations.label_map, trained.kind.num_outputs
    if label_map is not None and len(classes) != outputs:
        classes, origin = read_label_map(label_map).classes, str(label_map)
    if classes:
        return with_classes(trained, classes, origin)
    options = config.segment_test
    found = listed_classes(images, options.annotations, options.annotation_format)
    if found is not None and len(found[0]) == outputs:
        return with_classes(trained, found[0], str(found[1]))
    return trained
