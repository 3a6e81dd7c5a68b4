"""The epochs of a training: steps on batches, a file of weights after each, a state from time to time.

Killed at any moment, the same run goes on from the last state and ends with the same files. It knows the
parts of a run, and decides nothing that the plan decides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from time import monotonic

import torch

from pipeline.errors import RunError, count
from pipeline.machine.json_lines import JsonLines
from pipeline.machine.progress import Bar, progress
from pipeline.resumable.kind import LOG
from pipeline.resumable.saved_tensors import save_whole
from pipeline.resumable.state import remove_state, save_state
from pipeline.resumable.unchanged import check_same_images
from pipeline.segment.folder import epoch_name
from pipeline.segment.training.job import SegmentJob
from pipeline.segment.training.learner import Learner, seed_torch
from pipeline.segment.training.state import Progress

STATE_SECONDS = 300.0
LOG_STEPS = 10  # between two lines of the log, as the released code prints them


@dataclass
class _Sums:
    """Losses added up on the device, so that no step waits for the one before. Mutable: each step adds."""

    epoch: torch.Tensor
    line: torch.Tensor
    line_steps: int

    @classmethod
    def of(cls, at: Progress, device: torch.device) -> _Sums:
        epoch, line = (
            torch.tensor(value, dtype=torch.float64, device=device) for value in (at.loss, at.line_loss)
        )
        return cls(epoch, line, at.line_steps)

    def add(self, loss: torch.Tensor) -> None:
        self.epoch += loss
        self.line += loss
        self.line_steps += 1


class _Clock:
    """When a line and a state were last written. A class, because both change."""

    def __init__(self) -> None:
        self.line = self.state = monotonic()


def run_epochs(job: SegmentJob, learner: Learner, at: Progress) -> None:
    """Train from ``at`` to the end: a file of weights and a line of the log after each epoch.

    Raises RunError where the loss is no longer finite, or where the images are replaced meanwhile.
    """
    options, num_steps = job.options, job.plan.num_steps
    log, clock = JsonLines(job.folder / LOG), _Clock()
    total = options.epochs * num_steps * options.batch_size
    done = (at.epoch * num_steps + at.step) * options.batch_size
    with progress("training", total, "images", done) as bar:
        for epoch in range(at.epoch, options.epochs):
            bar.begin(f"epoch {epoch + 1} of {options.epochs}")
            _run_epoch(job, learner, at, log, clock, bar)
            at = Progress(epoch + 1)
            weights = {"model_state_dict": learner.weights()}
            save_whole(job.folder / epoch_name(job.info.architecture, epoch), weights)
            if epoch + 1 < options.epochs:
                _save(job, learner, at, clock)
    remove_state(job.folder)


def _run_epoch(
    job: SegmentJob, learner: Learner, at: Progress, log: JsonLines, clock: _Clock, bar: Bar
) -> None:
    """The steps of an epoch from ``at`` on, and its last line in the log."""
    options, num_steps = job.options, job.plan.num_steps
    sums, before = _Sums.of(at, learner.device), at.epoch * num_steps
    first, clock.line = at.step, monotonic()
    start = monotonic()
    has_targets = at.epoch > 0 or at.step > 0  # an epoch that an earlier run began is taken on trust
    for step, batch in enumerate(job.batches.batches(at.epoch, at.step), at.step + 1):
        has_targets = has_targets or batch.has_targets
        seed_torch(options.seed, before + step)
        sums.add(learner.step(batch.images, batch.targets))
        bar.advance(options.batch_size)
        if step < num_steps and step % LOG_STEPS == 0:
            loss = _finite(float(sums.line), at.epoch) / sums.line_steps
            log.append(_line(job, at.epoch, before + step, loss, sums.line_steps, clock.line))
            bar.status(f"loss {loss:.4f}")
            sums.line.zero_()
            sums.line_steps, clock.line = 0, monotonic()
        if step < num_steps and monotonic() - clock.state >= STATE_SECONDS:
            loss, line_loss = float(sums.epoch), float(sums.line)
            _finite(loss, at.epoch)
            here = replace(at, step=step, loss=loss, line_loss=line_loss, line_steps=sums.line_steps)
            _save(job, learner, here, clock)
    loss = _finite(float(sums.epoch), at.epoch) / num_steps
    check_same_images(job.batches.images)
    if not has_targets:
        raise RunError(f"{job.folder}: {_nothing_learnt(job)}")
    row = _line(job, at.epoch, before + num_steps, loss, num_steps - first, start)
    log.append({**row, "end_of_epoch": True})
    bar.status(f"loss {loss:.4f}")


def _save(job: SegmentJob, learner: Learner, at: Progress, clock: _Clock) -> None:
    check_same_images(job.batches.images)
    save_state(job.folder, at, learner.state())
    clock.state = monotonic()


def _nothing_learnt(job: SegmentJob) -> str:
    """What is said of a first epoch in which no image had anything to learn."""
    what = "no pixel has a class" if job.info.keypoints is None else "no keypoint has a confidence"
    more = " that --crop left in it" if job.options.crop is not None else ""
    return (
        f"nothing was learnt: in {count(job.plan.num_images, 'image')} {what}{more}; look at the labels with "
        "`dgan report`, and choose other images"
    )


def _line(
    job: SegmentJob, epoch: int, step: int, loss: float, num_steps: int, since: float
) -> dict[str, float]:
    """A line of the log. ``step`` counts from the beginning of the training."""
    rate = num_steps * job.options.batch_size / max(monotonic() - since, 1e-9)
    return {
        "epoch": epoch,
        "step": step,
        "loss": loss,
        "lr": job.options.learning_rate,
        "images_per_second": round(rate, 2),
    }


def _finite(loss: float, epoch: int) -> float:
    if not math.isfinite(loss):
        raise RunError(
            f"training diverged in epoch {epoch + 1}: the loss is {loss}, expected a finite number; lower "
            "the learning rate ([segment] learning_rate) and run with --overwrite"
        )
    return loss
