"""The epochs of a training run: each learns, is measured, and is saved before the next begins.

Killed at any moment, the same run goes on from the last epoch that was saved and ends in the same tensors. It
knows the parts of a run, and decides nothing that a plan or a schedule decides.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from itertools import islice

import torch

from fstore.sampler import Batch, SampledStore
from pipeline.errors import RunError
from pipeline.interpreter.description import EpochMetrics, InterpreterInfo, with_epoch
from pipeline.interpreter.training_state import TrainingState, save_state
from pipeline.machine.progress import Bar, progress
from pipeline.stages.train.inputs import check_same_store, reading
from pipeline.stages.train.job import TrainJob
from pipeline.stages.train.learner import Learner
from pipeline.stages.train.memory import MemoryPlan
from pipeline.stages.train.sampling import make_sampler, pixel_source
from pipeline.stages.train.schedule import (
    best_epoch,
    epoch_name,
    epoch_rates,
    is_finished,
    is_stopped,
    steps_done,
)
from pipeline.stages.train.validation import Quality, Validation, read_validation


def run_epochs(job: TrainJob, info: InterpreterInfo, learner: Learner) -> InterpreterInfo:
    """Train until the stopping rule says so, then over all images. The state is saved after every epoch.

    Returns ``info`` with what the epochs reached. The learner remembers the tensors to keep.
    Raises RunError where the loss is no longer finite, or where the store is replaced meanwhile.
    """
    plan, config, memory = job.plan, job.plan.config, job.memory
    assert memory is not None, "a run that is not finished takes memory"
    if is_finished(info.epochs, config, plan.final_epochs):
        return info
    with progress("training", config.steps, "steps", steps_done(info.epochs)) as bar, reading(job.store):
        bar.status("reading the validation pixels")
        source = pixel_source(job.store, plan, memory, learner.device)
        validation = read_validation(source, job.store, plan)
        check_same_store(job.store)
        bar.status("")
        while not is_finished(info.epochs, config, plan.final_epochs):
            info = _next_epoch(job, memory, info, learner, source, validation, bar)
    return info


def _next_epoch(
    job: TrainJob,
    memory: MemoryPlan,
    info: InterpreterInfo,
    learner: Learner,
    source: SampledStore,
    validation: Validation | None,
    bar: Bar,
) -> InterpreterInfo:
    plan, config = job.plan, job.plan.config
    epoch, done = len(info.epochs), steps_done(info.epochs)
    final = is_stopped(info.epochs, config)
    if final and not info.epochs[-1].final:
        # The final epochs go on from the best epoch's weights, not from those of the epochs that brought
        # nothing. Adam keeps its moments of the last epoch. They hold the size of the gradients, which hardly
        # differs between epochs near the end, while a fresh Adam would take its first steps without knowing
        # it. The best epoch's own moments would take half as much memory again, and the demo's mIoU moved by
        # 0.0004 at most with them, and with a fresh Adam.
        learner.restore_best()
    images = plan.split.training + (plan.split.held_out if final else ())
    sampler = make_sampler(source, config, tuple(sorted(images)), memory)
    num_steps = min(sampler.steps_per_epoch, (config.steps or sys.maxsize) - done)
    rates = epoch_rates(info.epochs, config, num_steps, plan.final_epochs)
    name = epoch_name(info.epochs, config, sampler.steps_per_epoch, plan.final_epochs)
    bar.begin(name, None if config.steps else num_steps)
    batches = zip(sampler.epoch(epoch), rates, strict=False)
    losses = _run_epoch(learner, islice(batches, num_steps), epoch, bar)
    loss = math.fsum(losses) / len(losses)
    quality = validation.measure(learner.ensemble) if validation and not final else Quality()
    metrics = EpochMetrics(epoch, done + num_steps, loss, final=final, member_losses=losses, **vars(quality))
    best = best_epoch((*info.epochs, metrics))
    if final or best == epoch:
        learner.remember_best()
    info = with_epoch(info, metrics, best)
    check_same_store(job.store)
    save_state(job.folder, TrainingState(info, learner.tensors()))
    bar.status(f"{quality.text()}, loss {loss:.4f}".removeprefix(", "))
    return info


def _run_epoch(
    learner: Learner, batches: Iterable[tuple[Batch, float]], epoch: int, bar: Bar
) -> tuple[float, ...]:
    """Mean loss of an epoch's steps, of each member. Raises RunError where one is not finite."""
    total = torch.zeros(learner.ensemble.num_members, dtype=torch.float64, device=learner.device)
    num_steps = 0
    for batch, share in batches:
        total += learner.step(batch, share)
        num_steps += 1
        bar.advance(1)
    losses = tuple((total / num_steps).tolist())
    wrong = [loss for loss in losses if not math.isfinite(loss)]
    if wrong:
        raise RunError(
            f"training diverged in epoch {epoch + 1}: the loss is {wrong[0]}, expected a finite number; "
            "lower the learning rate ([train] learning_rate) and run with --overwrite"
        )
    return losses
