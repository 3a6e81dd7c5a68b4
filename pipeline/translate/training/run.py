"""`dgan translate train`: prepares a run, and carries it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from fstore.location import Location
from pipeline.errors import RunError, count
from pipeline.machine.json_lines import JsonLines
from pipeline.resumable.begun import ABSENT, FINISHED, clear, locked
from pipeline.resumable.kind import LOG
from pipeline.resumable.state import damaged_state, load_state
from pipeline.resumable.unchanged import check_same_images, reading
from pipeline.settings.schema import Config
from pipeline.translate.folder import BACKWARD, FORWARD, TRANSLATOR
from pipeline.translate.training import fid
from pipeline.translate.training.begun import check_begun
from pipeline.translate.training.epochs import AfterEpoch, finish_log, run_epochs
from pipeline.translate.training.job import TranslateJob, make_job
from pipeline.translate.training.learner import Learner
from pipeline.translate.training.state import Progress


def prepare(config: Config, device: torch.device, *, overwrite: bool) -> TranslateJob:
    """All that the run needs, checked. Raises UsageError, one line; StoreError, RunError."""
    return make_job(config.translate, device, overwrite=overwrite)


def dry_run(job: TranslateJob, device: torch.device) -> list[str]:
    """The plan and what it costs, a line each. Raises what the run would raise before it begins."""
    found = check_begun(job.folder, job.info, overwrite=job.overwrite)
    if found == FINISHED:
        return [_nothing_to_do(job)]
    going_on = [] if found == ABSENT else [f"{job.folder}: goes on where an earlier run ended"]
    free_bytes = Location.parse(job.folder).free_bytes()
    return [*job.notes, *going_on, *job.plan.lines(free_bytes, device)]


def train(
    job: TranslateJob,
    device: torch.device,
    *,
    say: Callable[[str], None],
    after_epoch: AfterEpoch | None = None,
) -> list[str]:
    """Train, or go on where an earlier run ended. Returns the lines that the command prints.

    Raises UsageError, one line, for a folder that cannot be used; RunError where a loss is no longer finite
    or the images are replaced meanwhile; StoreError for a damaged store.
    """
    with locked(job.folder):
        found = check_begun(job.folder, job.info, overwrite=job.overwrite)
        if found == FINISHED:
            return [_nothing_to_do(job)]
        for note in job.notes:
            say(note)
        learner, at = _begin(job, device, found, say)
        with reading(job.batches):
            run_epochs(job, learner, at, after_epoch)
    return summary(job)


def summary(job: TranslateJob) -> list[str]:
    """What a finished translator reached, what is left out, and what to do next."""
    row = JsonLines(job.folder / LOG).rows()[-1]
    measured = row.get("validation") or row["training"]
    part = "held-out images" if "validation" in row else "training images"
    named = ((FORWARD, "source to target"), (BACKWARD, "target to source"))
    reached = [f"{name} {_figures(measured[key])}" for key, name in named if _figures(measured.get(key, {}))]
    epochs = count(job.info.epochs, "epoch")
    figures = f"; on {part}: {'; '.join(reached)}" if reached else ""
    lines = [f"{job.folder}: {epochs}, cycle loss {row['losses']['cycle']:.4f}{figures}"]
    left_out = fid.left_out()
    if left_out is not None:
        lines.append(left_out)
    if "fid" in row:
        few = min(len(split.training) for split in job.batches.splits)
        doubt = f", which says little of {few} images" if few < fid.FEW else ""
        distances = ", ".join(f"{name} {row['fid'][key]:.1f}" for key, name in named)
        lines.append(f"FID {distances}{doubt}")
    return [*lines, f"next: dgan translate apply {job.folder} --data dataset.zarr"]


def _figures(measured: Mapping[str, Any]) -> str:
    names = (("feedback", "feedback", ".3f"), ("l2", "L2", ".4f"), ("pixel_error", "pixel error", ".1f"))
    return ", ".join(f"{name} {measured[key]:{shape}}" for key, name, shape in names if key in measured)


def _nothing_to_do(job: TranslateJob) -> str:
    return f"{job.folder}: trained already with these settings; nothing to do"


def _begin(
    job: TranslateJob, device: torch.device, found: str, say: Callable[[str], None]
) -> tuple[Learner, Progress]:
    """The networks as an earlier run left them, or new ones in a folder with its description alone."""
    learner = job.make_learner(device)
    state = None if found == ABSENT else load_state(job.folder, Progress, job.plan.state_bytes)
    check_same_images(job.batches)
    if state is None:
        clear(job.folder, TRANSLATOR)
        TRANSLATOR.write_description(job.folder, job.info)
        return learner, Progress()
    at, learnt = state
    if at.epochs > job.info.epochs:
        raise RunError(f"{job.folder}: another run has trained there meanwhile; run the same command again")
    try:
        learner.restore(learnt)
    except ValueError as error:
        raise damaged_state(job.folder, error) from None
    step = at.epochs * job.batches.num_steps + at.step
    say(f"{job.folder}: going on after step {step:,}, in epoch {at.epochs + 1} of {job.info.epochs}")
    JsonLines(job.folder / LOG).cut(
        lambda row: isinstance(row.get("epoch"), int) and row["epoch"] <= at.epochs
    )
    finish_log(job.folder, at, None)
    described = TRANSLATOR.read_description(job.folder)
    if described is None or described.epochs != job.info.epochs:
        TRANSLATOR.write_description(job.folder, job.info)
    return learner, at
