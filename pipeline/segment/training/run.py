"""`dgan segment train` on a dataset alone: prepares a run, and carries it out.

`pipeline.segment.training.mixing` does so where photographs are learnt too.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch

from fstore.location import Location
from pipeline.errors import UsageError, count
from pipeline.machine.json_lines import JsonLines
from pipeline.machine.training_format import training_format
from pipeline.resumable.begun import ABSENT, FINISHED, clear, locked
from pipeline.resumable.kind import LOG
from pipeline.resumable.state import damaged_state, load_state
from pipeline.resumable.unchanged import check_same_images, reading
from pipeline.segment.folder import SEGMENTER, SegmenterFolder, open_segmenter
from pipeline.segment.training.begun import check_begun
from pipeline.segment.training.epochs import run_epochs
from pipeline.segment.training.images import OpenedImages, open_images
from pipeline.segment.training.job import SegmentJob, make_job
from pipeline.segment.training.learner import Learner, objective_of
from pipeline.segment.training.state import Progress
from pipeline.settings.files import DEMO_SOURCE
from pipeline.settings.schema import Config, SegmentConfig

NEEDS_REAL = ("real_annotations", "real_annotation_format", "num_real", "only")


@dataclass(frozen=True)
class Result:
    """What a run has to show: the lines that the command prints, and what the function returns."""

    lines: list[str]
    value: Any


def prepare(config: Config, device: torch.device, *, overwrite: bool) -> SegmentJob:
    """All that the run needs, checked. Raises UsageError, one line; StoreError, RunError."""
    options = config.segment
    check_real(options)
    opened = open_images(options)
    opened = replace(opened, notes=(*opened.notes, *demo_note(config, opened)))
    return make_job(options, [opened.source], opened, device, overwrite=overwrite)


def check_real(options: SegmentConfig) -> None:
    """Refuse settings of photographs where none are given. Raises UsageError."""
    for name in NEEDS_REAL:
        value = getattr(options, name)
        if value != getattr(SegmentConfig, name):
            raise UsageError(
                f"--{name.replace('_', '-')} is {value}, and there are no photographs; pass --real-images "
                "DIR, or leave it out"
            )


def demo_note(config: Config, opened: OpenedImages) -> tuple[str, ...]:
    """One line where the demo's settings are used, for want of others, on what is not the demo's."""
    demo = [each.name for each in config.annotations.classes]
    if config.source != DEMO_SOURCE or [each.name for each in opened.task.classes] == demo:
        return ()
    options = config.segment
    return (
        f"{options.data}: is not the demo's, and the demo's settings are used ({options.backbone}, "
        f"{count(options.epochs, 'epoch')}); for the usual ones name it, --data {options.data}",
    )


def dry_run(job: SegmentJob, device: torch.device) -> list[str]:
    """The plan and what it costs, a line each. Raises what the run would raise before it begins."""
    found = check_begun(job.folder, job.info, overwrite=job.overwrite)
    if found == FINISHED:
        return [_nothing_to_do(job)]
    notes = list(job.notes)
    if job.options.pretrained is not None:
        with _own_random_numbers(device):
            notes += job.make_network()[1]
    free_bytes = Location.parse(job.folder).free_bytes()
    going_on = [] if found == ABSENT else [f"{job.folder}: goes on where an earlier run ended"]
    return [*notes, *going_on, *job.plan.lines(free_bytes)]


def train(job: SegmentJob, device: torch.device, *, say: Callable[[str], None]) -> Result:
    """Train, or go on where an earlier run ended."""
    finished = check_begun(job.folder, job.info, overwrite=job.overwrite) == FINISHED
    if finished:
        return Result([_nothing_to_do(job)], job.folder)
    train_one(job, device, say)
    return Result([summary(job)], job.folder)


def train_one(job: SegmentJob, device: torch.device, say: Callable[[str], None]) -> SegmenterFolder:
    """Train the segmenter of a job to its end; one that is finished is returned as it is.

    Raises UsageError, one line, for a folder or weights that cannot be used; RunError where the loss is no
    longer finite or the images are replaced meanwhile; StoreError for a damaged store.
    """
    with locked(job.folder), _own_random_numbers(device):
        found = check_begun(job.folder, job.info, overwrite=job.overwrite)
        if found != FINISHED:
            for note in job.notes:
                say(note)
            learner, at = _begin(job, device, found, say)
            with reading(job.batches.images):
                run_epochs(job, learner, at)
    return open_segmenter(job.folder)


def _own_random_numbers(device: torch.device) -> AbstractContextManager[None]:
    """A block that seeds torch and leaves the caller's random numbers as they were."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


def summary(job: SegmentJob) -> str:
    """One line on a segmenter that is trained, and what to do next."""
    rows = JsonLines(job.folder / LOG).rows()
    loss = f", loss {rows[-1]['loss']:.4f}" if rows else ""
    return (
        f"{job.folder}: {count(job.info.epochs, 'epoch')} of {count(job.plan.num_images, 'image')}{loss}; "
        f"next: dgan segment test {job.folder} --images DIR --annotations PATH"
    )


def _begin(
    job: SegmentJob, device: torch.device, found: str, say: Callable[[str], None]
) -> tuple[Learner, Progress]:
    """The network as an earlier run left it, or a new one in a folder with its description alone."""
    network, notes = job.make_network()
    memory_format, precision = training_format(device, job.options.precision)
    objective, rate = objective_of(job.info.keypoints), job.options.learning_rate
    learner = Learner(network, objective, rate, device, precision, memory_format)
    state = None if found == ABSENT else load_state(job.folder, Progress, job.plan.state_bytes)
    check_same_images(job.batches.images)
    if state is None:
        clear(job.folder, SEGMENTER)
        SEGMENTER.write_description(job.folder, job.info)
        for note in notes:
            say(note)
        return learner, Progress()
    at, learnt = state
    try:
        learner.restore(learnt)
    except ValueError as error:
        raise damaged_state(job.folder, error) from None
    step = at.epoch * job.plan.num_steps + at.step
    say(f"{job.folder}: going on after step {step:,}, in epoch {at.epoch + 1} of {job.info.epochs}")
    JsonLines(job.folder / LOG).cut(lambda row: _is_before(row, step))
    return learner, at


def _is_before(row: Any, step: int) -> bool:
    """Whether a line of the log was written before a state after ``step`` steps."""
    found = row.get("step")
    return isinstance(found, int) and found <= step


def _nothing_to_do(job: SegmentJob) -> str:
    return f"{job.folder}: trained already with these settings; nothing to do"
