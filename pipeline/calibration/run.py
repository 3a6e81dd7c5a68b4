"""Trains on parts of the annotated images, labels the others, and compares error with uncertainty.

Killed and run again, it goes on: what is found for each image is saved, and a training goes on from its last
epoch. It knows the parts of a run, and decides nothing that a plan or a rule decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fstore.location import Location
from fstore.lock import FolderLock
from pipeline.calibration.figures import calibration_of
from pipeline.calibration.job import CalibrationJob, prepare
from pipeline.calibration.plot import calibration_svg
from pipeline.calibration.predictions import Predictor
from pipeline.calibration.table import table_lines
from pipeline.errors import count
from pipeline.interpreter.folder import replace_file
from pipeline.machine.progress import progress
from pipeline.quality.calibration_record import Calibration
from pipeline.stages.train import stage
from pipeline.stages.train.inputs import check_same_store, reading
from pipeline.stages.train.job import TrainJob
from pipeline.stages.train.prepare import prepare as prepare_training

__all__ = ["calibrate", "dry_run", "prepare", "table_lines"]


def dry_run(job: CalibrationJob, device: torch.device, *, memory_budget: int | None) -> list[str]:
    """What a run would do and cost: the folds, and the plan of the next fold's training.

    Raises what the run would raise before it begins.
    """
    if job.done is not None:
        return [_nothing_to_do(job)]
    following = _next_fold(job)
    lines = [
        *job.notes,
        f"images       {len(job.images)} annotated of {len(job.store)}, in {count(job.num_folds, 'fold')}",
    ]
    for fold in range(job.num_folds):
        images = job.images_of(fold)
        positions, rest = ", ".join(map(str, images)), len(job.images) - len(images)
        lines.append(f"fold {fold + 1:<8}learns from {count(rest, 'image')}, labels {positions}")
    if following is None:
        return [*lines, "all images are labelled already"]
    training = _prepare_fold(job, following, device, memory_budget)
    if training.memory is None:
        return lines
    lines.append(f"each fold trains as follows, here fold {following + 1}:")
    free_bytes = Location.parse(job.out.parent).free_bytes()
    plan = training.plan.lines(training.memory, free_bytes=free_bytes)
    return [*lines, *(line for line in plan if not line.startswith("time "))]


def calibrate(
    job: CalibrationJob, device: torch.device, *, memory_budget: int | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """Measure, and write the files. Returns the calibration, as the JSON file has it.

    Raises RunError where the store is replaced meanwhile, and what training raises.
    """
    if job.done is not None:
        say(_nothing_to_do(job))
        job.begun.remove()  # where a run was killed at the very end
        return job.done.to_json()
    fold = _next_fold(job)
    if fold is not None:  # what its training refuses is refused before anything is written
        _prepare_fold(job, fold, device, memory_budget)
    say = _once(say)
    for note in job.notes:
        say(note)
    with _begun(job):
        for fold in range(job.num_folds):
            _run_fold(job, fold, device, memory_budget, say)
        with reading(job.store):
            found = calibration_of(job, str(device))
        check_same_store(job.store)
        _save(job, found)
    return found.to_json()


def _next_fold(job: CalibrationJob) -> int | None:
    """The first fold with an image that is not labelled yet; None where all are."""
    for fold in range(job.num_folds):
        if job.replaces or not all(job.begun.has(image) for image in job.images_of(fold)):
            return fold
    return None


def _prepare_fold(
    job: CalibrationJob, fold: int, device: torch.device, memory_budget: int | None
) -> TrainJob:
    """The training of a fold, planned and checked. Raises what it would raise before it begins."""
    return prepare_training(
        job.store.location.target,
        job.fold_config(fold),
        device,
        overwrite=job.replaces,
        memory_budget=memory_budget,
        excluded=job.images_of(fold),
    )


@contextmanager
def _begun(job: CalibrationJob) -> Iterator[None]:
    """A block during which the folder of what is done is there, and nobody else writes into it. It is deleted
    at the end of the block, and stays after an error.
    """
    job.begun.folder.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(job.begun.folder)
    try:
        job.begun.begin(job.settings, anew=job.replaces)
        yield
        job.begun.remove()
    finally:
        lock.release()


def _run_fold(
    job: CalibrationJob,
    fold: int,
    device: torch.device,
    memory_budget: int | None,
    say: Callable[[str], None],
) -> None:
    """Train without the fold's images, and label those that are not labelled yet."""
    images, begun = job.images_of(fold), job.begun
    left = [image for image in images if not begun.has(image)]
    if left:
        name = f"fold {fold + 1} of {job.num_folds}"
        rest = len(job.images) - len(images)
        say(f"{name}: learns from {count(rest, 'image')}, then labels {count(len(images), 'other')}")
        interpreter = stage.train(
            job.store.location.target,
            job.fold_config(fold),
            device=device,
            memory_budget=memory_budget,
            excluded=images,
            report=say,
        )
        predictor = Predictor(job.store, interpreter.ensemble, device)
        done = len(images) - len(left)
        with progress(f"labelling {name}", len(images), "images", done) as bar, reading(job.store):
            for image in left:
                prediction = predictor.predict(image)
                check_same_store(job.store)
                begun.save(image, prediction)
                bar.advance()
    begun.remove_fold(fold)


def _save(job: CalibrationJob, found: Calibration) -> None:
    """Write the picture, then the file, whose presence says that all is done."""
    picture, text = calibration_svg(found), found.to_text()
    replace_file(job.plot, lambda path: path.write_text(picture, encoding="utf-8"))
    replace_file(job.out, lambda path: path.write_text(text, encoding="utf-8"))


def _once(say: Callable[[str], None]) -> Callable[[str], None]:
    """Tells each line once: every fold's training has the same notes."""
    said: set[str] = set()

    def say_once(line: str) -> None:
        if line not in said:
            said.add(line)
            say(line)

    return say_once


def _nothing_to_do(job: CalibrationJob) -> str:
    return f"{job.out}: calibrated already with these settings; nothing to do"
