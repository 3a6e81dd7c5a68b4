"""The epochs of a training run: each learns, is measured, and is saved before the next begins.

Killed at any moment, the same run goes on from the last epoch that was saved and ends in the same tensors. It
knows the parts of a run, and decides nothing that a plan or a schedule decides.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import torch

from fstore.sampler import Batch, SampledStore, StratifiedChunkSampler
from pipeline.errors import RunError
from pipeline.interpreter.description import EpochMetrics, InterpreterInfo, with_epoch
from pipeline.interpreter.training_state import TrainingState, save_state
from pipeline.machine.progress import Bar, progress
from pipeline.stages.train.inputs import check_same_store, reading
from pipeline.stages.train.job import TrainJob
from pipeline.stages.train.learner import Learner
from pipeline.stages.train.memory import MemoryPlan
from pipeline.stages.train.plan import TrainPlan
from pipeline.stages.train.sampling import make_sampler
from pipeline.stages.train.schedule import (
    NextEpoch,
    best_epoch,
    epoch_name,
    epoch_rates,
    is_finished,
    next_epoch,
    steps_done,
)
from pipeline.stages.train.validation import Quality, Validation, read_validation


class Shares(Protocol):
    """Others that do an epoch's steps, each for a share of the members."""

    def run(self, info: InterpreterInfo, learner: Learner, num_steps: int, bar: Bar) -> tuple[float, ...]:
        """Do the next epoch after those of ``info``, whose state is on the disk, and put what was learnt into
        ``learner``. Returns the mean loss of each member.
        """


def run_epochs(
    job: TrainJob,
    info: InterpreterInfo,
    learner: Learner,
    source: SampledStore,
    shares: Shares | None = None,
) -> InterpreterInfo:
    """Train until the stopping rule says so, then over all images. The state is saved after every epoch.

    ``source``: what pixels are read from. ``shares``: who does the steps; None: ``learner``. Returns ``info``
    with what the epochs reached. The learner remembers the tensors to keep.
    Raises RunError where the loss is no longer finite, or where the store is replaced meanwhile.
    """
    plan, config, memory = job.plan, job.plan.config, job.memory
    assert memory is not None, "a run that is not finished takes memory"
    if is_finished(info.epochs, config, plan.final_epochs):
        return info
    with progress("training", config.steps, "steps", steps_done(info.epochs)) as bar, reading(job.store):
        bar.status("reading the validation pixels")
        validation = read_validation(source, job.store, plan)
        check_same_store(job.store)
        bar.status("")
        while not is_finished(info.epochs, config, plan.final_epochs):
            info = _next_epoch(job, memory, info, learner, source, validation, bar, shares)
    return info


def _next_epoch(
    job: TrainJob,
    memory: MemoryPlan,
    info: InterpreterInfo,
    learner: Learner,
    source: SampledStore,
    validation: Validation | None,
    bar: Bar,
    shares: Shares | None,
) -> InterpreterInfo:
    plan, config = job.plan, job.plan.config
    begins, done = next_epoch(info.epochs, config), steps_done(info.epochs)
    epoch, final = begins.number, begins.is_final
    if begins.from_best:
        learner.restore_best()
    sampler = make_sampler(source, config, epoch_images(plan, begins), memory)
    num_steps, rates = epoch_steps(info, plan, sampler)
    name = epoch_name(info.epochs, config, sampler.steps_per_epoch, plan.final_epochs)
    bar.begin(name, None if config.steps else num_steps)
    if shares is None:
        losses = _run_epoch(learner, paced_batches(sampler, epoch, rates), epoch, bar)
    else:
        losses = shares.run(info, learner, num_steps, bar)
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


def epoch_images(plan: TrainPlan, begins: NextEpoch) -> tuple[int, ...]:
    """Positions of the images that an epoch learns from."""
    return tuple(sorted(plan.split.training + (plan.split.held_out if begins.is_final else ())))


def epoch_steps(
    info: InterpreterInfo, plan: TrainPlan, sampler: StratifiedChunkSampler
) -> tuple[int, list[float]]:
    """How many steps the epoch after those of ``info`` has, and each one's share of the learning rate."""
    left = (plan.config.steps or sys.maxsize) - steps_done(info.epochs)
    num_steps = min(sampler.steps_per_epoch, left)
    return num_steps, epoch_rates(info.epochs, plan.config, num_steps, plan.final_epochs)


def paced_batches(
    sampler: StratifiedChunkSampler, epoch: int, rates: list[float]
) -> Iterator[tuple[Batch, float]]:
    """The batches of an epoch, each with its share of the learning rate; as many as there are ``rates``."""
    return ((batch, share) for share, batch in zip(rates, sampler.epoch(epoch), strict=False))


def learn(
    learner: Learner, batches: Iterable[tuple[Batch, float]], after_step: Callable[[], None]
) -> tuple[float, ...]:
    """Take a step on each batch. Returns the mean loss of each member."""
    total = torch.zeros(learner.ensemble.num_members, dtype=torch.float64, device=learner.device)
    num_steps = 0
    for batch, share in batches:
        total += learner.step(batch, share)
        num_steps += 1
        after_step()
    return tuple((total / num_steps).tolist())


def _run_epoch(
    learner: Learner, batches: Iterable[tuple[Batch, float]], epoch: int, bar: Bar
) -> tuple[float, ...]:
    """Mean loss of an epoch's steps, of each member. Raises RunError where one is not finite."""
    return finite(learn(learner, batches, lambda: bar.advance(1)), epoch)


def finite(losses: tuple[float, ...], epoch: int) -> tuple[float, ...]:
    """The members' losses of an epoch. Raises RunError where one is not finite."""
    wrong = [loss for loss in losses if not math.isfinite(loss)]
    if wrong:
        raise RunError(
            f"training diverged in epoch {epoch + 1}: the loss is {wrong[0]}, expected a finite number; "
            "lower the learning rate ([train] learning_rate) and run with --overwrite"
        )
    return losses
