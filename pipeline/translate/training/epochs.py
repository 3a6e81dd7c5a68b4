"""The epochs of a translator's training: steps on batches, then measures, samples and weights of each epoch.

Killed at any moment, the same run goes on from the last state and ends with the same files. It knows the
parts of a run, and decides nothing that the plan decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import RunError
from pipeline.interpreter.folder import replace_file
from pipeline.machine.json_lines import JsonLines
from pipeline.machine.progress import Bar, progress
from pipeline.resumable.kind import LOG
from pipeline.resumable.saved_tensors import save_whole
from pipeline.resumable.state import save_state
from pipeline.resumable.unchanged import check_same_images
from pipeline.translate.folder import (
    BACKWARD,
    CURVES,
    FORWARD,
    GENERATORS,
    SAMPLES,
    generators_document,
)
from pipeline.translate.sides import SOURCE, TARGET
from pipeline.translate.training import fid
from pipeline.translate.training.batches import BatchPlan
from pipeline.translate.training.job import TranslateJob
from pipeline.translate.training.learner import LOSSES, Learner
from pipeline.translate.training.measure import measure, measured_images
from pipeline.translate.training.metrics import grey_levels
from pipeline.translate.training.plot import curves_svg
from pipeline.translate.training.sheets import LATEST, MOST_ROWS, has_sheet, sheet, sheet_name, write_sheet
from pipeline.translate.training.state import Progress

STATE_SECONDS = 300.0
AfterEpoch = Callable[[int, Learner], None]
"""Told the number of finished epochs, and the learner, after each; for measures of one's own."""


def run_epochs(job: TranslateJob, learner: Learner, at: Progress, after_epoch: AfterEpoch | None) -> None:
    """Train from ``at`` to the end.

    Raises RunError where a loss is no longer finite, or where the images are replaced meanwhile.
    """
    options, num_steps = job.options, job.batches.num_steps
    total = options.epochs * num_steps * options.batch_size
    done = (at.epochs * num_steps + at.step) * options.batch_size
    with progress("training", total, "images", done) as bar:
        while at.epochs < options.epochs:
            bar.begin(f"epoch {at.epochs + 1} of {options.epochs}")
            start, first = monotonic(), at.step
            losses = _take_steps(job, learner, at, bar)
            bar.status("measuring")
            row = _row(job, learner, at.epochs + 1, losses)
            seconds = max(monotonic() - start, 1e-9)
            speed = round((num_steps - first) * options.batch_size / seconds, 2)
            at = Progress(at.epochs + 1, row=row)
            _finish_epoch(job, learner, at, speed)
            bar.status(_status(row))
            if after_epoch is not None:
                after_epoch(at.epochs, learner)


def _take_steps(job: TranslateJob, learner: Learner, at: Progress, bar: Bar) -> dict[str, float]:
    """The steps of an epoch from ``at`` on. Returns the mean of each loss, by name."""
    num_steps, last_state = job.batches.num_steps, monotonic()
    begun = at.losses or (0.0,) * len(LOSSES)
    sums = torch.tensor(begun, dtype=torch.float64).to(learner.device)  # no step waits for the one before
    for step, batch in enumerate(job.batches.batches(at.epochs, at.step), at.step + 1):
        sums += learner.step(*batch)
        bar.advance(job.options.batch_size)
        if step < num_steps and monotonic() - last_state >= STATE_SECONDS:
            _check_finite(sums.tolist(), at.epochs)
            _save(job, learner, replace(at, step=step, losses=tuple(sums.tolist())))
            last_state = monotonic()
    _check_finite(sums.tolist(), at.epochs)
    means = (sums / num_steps).tolist()
    names = LOSSES if learner.discriminators else ("generators", "cycle", "identity")
    return {name: means[LOSSES.index(name)] for name in names}


def _row(job: TranslateJob, learner: Learner, epoch: int, losses: dict[str, float]) -> dict[str, Any]:
    """The line of the log. Epochs count from 1."""
    images = measured_images(job.batches)
    row: dict[str, Any] = {"epoch": epoch, "step": epoch * job.batches.num_steps, "losses": losses}
    row["training"] = measure(learner, job.batches, images.training)
    if any(images.validation):
        row["validation"] = measure(learner, job.batches, images.validation)
    if epoch == job.options.epochs and fid.left_out() is None:
        row["fid"] = frechet_distances(learner, job.batches)
    return row


@torch.inference_mode()
def frechet_distances(learner: Learner, batches: BatchPlan) -> dict[str, float]:
    """The distance of what each generator makes of the training images to those of its domain."""

    def parts(side: int) -> Iterator[Tensor]:
        places, size = batches.splits[side].training, batches.batch_size
        for start in range(0, len(places), size):
            part = places[start : start + size]
            yield learner.images(batches.centres((part, ()) if side == SOURCE else ((), part))[side])

    return {
        direction: fid.frechet_distance(
            parts(true), (learner.carried(direction, images) for images in parts(given)), learner.device
        )
        for direction, given, true in ((FORWARD, SOURCE, TARGET), (BACKWARD, TARGET, SOURCE))
    }


def _finish_epoch(job: TranslateJob, learner: Learner, at: Progress, images_per_second: float) -> None:
    """Write all of a finished epoch. The line in the log comes last: it says that the rest is there."""
    folder = job.folder
    save_whole(folder / GENERATORS, generators_document(at.epochs, learner.weights()))
    _write_sheets(job, learner, at.epochs)
    _save(job, learner, at)
    finish_log(folder, at, images_per_second)


def finish_log(folder: Path, at: Progress, images_per_second: float | None) -> None:
    """Give the last finished epoch its curves and its line in the log, where it has none yet. The speed is
    None where nobody knows it any more; a state of an earlier version has it in its row.
    """
    log = JsonLines(folder / LOG)
    rows = log.rows()
    if at.epochs and (not rows or rows[-1].get("epoch") != at.epochs):
        svg = curves_svg([*rows, at.row])
        replace_file(folder / CURVES, partial(Path.write_text, data=svg, encoding="utf-8"))
        log.append({**at.row, "images_per_second": at.row.get("images_per_second", images_per_second)})


@torch.inference_mode()
def _write_sheets(job: TranslateJob, learner: Learner, epoch: int) -> None:
    """The sample sheet of an epoch: of the first images that validate, or of those that learn."""
    images = measured_images(job.batches)
    source, target = (
        (validating or learning)[:MOST_ROWS]
        for learning, validating in zip(images.training, images.validation, strict=True)
    )
    a, b = (learner.images(part) for part in job.batches.centres((source, target)))
    columns = [learner.carried(FORWARD, a), a, learner.carried(BACKWARD, b), b]
    page = sheet([grey_levels(column).byte().permute(0, 2, 3, 1).cpu().numpy() for column in columns])
    samples = job.folder / SAMPLES
    samples.mkdir(exist_ok=True)
    for name in [LATEST, *([sheet_name(epoch)] if has_sheet(epoch) else [])]:
        replace_file(samples / name, partial(write_sheet, page=page))


def _save(job: TranslateJob, learner: Learner, at: Progress) -> None:
    check_same_images(job.batches)
    save_state(job.folder, at, learner.state())


def _status(row: dict[str, Any]) -> str:
    """A few words on an epoch."""
    forward = row.get("validation", row["training"]).get(FORWARD, {})
    words = [f"cycle {row['losses']['cycle']:.3f}"]
    words += [
        f"{name} {forward[key]:.3f}"
        for key, name in (("feedback", "feedback"), ("l2", "L2"))
        if key in forward
    ]
    return ", ".join(words)


def _check_finite(losses: list[float], epochs: int) -> None:
    wrong = [loss for loss in losses if not math.isfinite(loss)]
    if wrong:
        raise RunError(
            f"training diverged in epoch {epochs + 1}: a loss is {wrong[0]}, expected a finite number; lower "
            "the learning rate ([translate] learning_rate) and run with --overwrite"
        )
