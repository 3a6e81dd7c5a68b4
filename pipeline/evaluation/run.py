"""Measures an interpreter against true labels, and writes the figures: the steps of ``dgan evaluate``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

import fstore
from fstore.dataset import Dataset
from fstore.errors import StoreError
from pipeline.errors import RunError, UsageError
from pipeline.evaluation.annotated import read_truth
from pipeline.evaluation.checks import check_dataset, check_features, has_learnt
from pipeline.evaluation.document import label_figures, point_figures
from pipeline.evaluation.files import EVALUATION, check_out, picture_path, write_files
from pipeline.evaluation.job import EvaluationJob, Judged, load_judged
from pipeline.evaluation.measure import measure_labels, measure_points
from pipeline.evaluation.picture import picture_of
from pipeline.evaluation.table import table_of
from pipeline.interpreter.identity import check_unchanged


def prepare(
    interpreter: Path, store: str, *, annotations: Path | None, label_map: Path | None, out: Path
) -> EvaluationJob:
    """Read and check what is given.

    ``store``: a feature store, whose masks or keypoints are the truth; or a dataset, with ``annotations`` of
    its images. Raises UsageError, one line, for an interpreter, store or annotations that cannot be used or
    do not belong together; StoreError for a store that is absent or damaged.
    """
    check_out(out, EVALUATION)
    judged, opened = load_judged(interpreter), fstore.open(store)
    if isinstance(opened, Dataset):
        return _prepare_dataset(judged, opened, annotations, label_map, out)
    for flag, given in (("--annotations", annotations), ("--label-map", label_map)):
        if given is not None:
            raise UsageError(
                f"{flag} is {given}, and {opened.location} is a feature store, whose own masks are the "
                "truth; leave it out, or pass a dataset"
            )
    notes = list(check_features(judged, opened))
    learnt = has_learnt(judged, opened)
    if learnt:
        notes.append(
            f"{opened.location}: {judged.folder} was trained on these images; the figures say how well it "
            "has learnt them, not how good it is on others"
        )
    if len(opened) < opened.num_images:
        notes.append(
            f"{opened.location}: {len(opened)} of {opened.num_images} images are extracted; these count"
        )
    return EvaluationJob(judged, opened, out, has_learnt=learnt, notes=notes)


def _prepare_dataset(
    judged: Judged, dataset: Dataset, annotations: Path | None, label_map: Path | None, out: Path
) -> EvaluationJob:
    if annotations is None:
        raise UsageError(
            f"{dataset.location}: is a dataset, which does not say what is true; pass --annotations DIR with "
            "true labels of some of its images, or --store with a feature store of annotated ones"
        )
    check_dataset(judged, dataset)
    truth, notes = read_truth(dataset, judged, annotations, label_map)
    return EvaluationJob(judged, dataset, out, truth, notes=notes)


def evaluate(job: EvaluationJob, device: torch.device, *, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure, and write the files. Returns the figures, as the JSON file has them.

    Raises RunError where the store or the interpreter was replaced meanwhile; then nothing is written.
    """
    for note in job.notes:
        say(note)
    if job.store.meta.keypoints is None:
        figures = label_figures(job, measure_labels(job, device))
    else:
        figures = point_figures(job, measure_points(job, device))
    check_same(job)
    write_files(job.out, EVALUATION, figures, picture_of(figures))
    return figures


def check_same(job: EvaluationJob) -> None:
    """Raise RunError where store or interpreter are no longer those that were read."""
    try:
        job.store.check_unchanged()
    except StoreError as error:
        raise RunError(str(error)) from None
    check_unchanged(job.judged.folder, job.judged.sha256)


def table_lines(figures: Mapping[str, Any], out: Path) -> list[str]:
    """The figures as a table for the terminal, then the files that hold them."""
    return [*table_of(figures), "", f"{out}: the figures; {picture_path(out)}: the picture"]
