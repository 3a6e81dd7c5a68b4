"""Says when training stops, which epoch was the best, and how the learning rate falls at the end.

Pure functions of what the epochs have reached so far. They know no tensors and no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.interpreter.description import EpochMetrics
from pipeline.settings.schema import TrainConfig


def best_epoch(epochs: Sequence[EpochMetrics]) -> int:
    """The number of the first epoch of the highest validation mIoU, or of the lowest heat-map error. Without
    held-out images it is that of the lowest loss. Final epochs do not count.
    """
    quality = [_quality(epoch) for epoch in epochs if not epoch.final]
    return quality.index(max(quality))


def _quality(epoch: EpochMetrics) -> float:
    """Larger is better."""
    if epoch.heat_error is not None:
        return -epoch.heat_error
    return -epoch.loss if epoch.miou is None else epoch.miou


def is_stopped(epochs: Sequence[EpochMetrics], config: TrainConfig) -> bool:
    """Whether the stopping rule has spoken: at ``steps`` exactly if given, else by ``patience`` or
    ``max_epochs``.
    """
    ruled = [epoch for epoch in epochs if not epoch.final]
    if not ruled:
        return False
    if config.steps is not None:
        return ruled[-1].steps >= config.steps
    return len(ruled) >= config.max_epochs or len(ruled) - 1 - best_epoch(ruled) >= config.patience


def is_finished(epochs: Sequence[EpochMetrics], config: TrainConfig, final_epochs: int) -> bool:
    """Whether training ends here: the stopping rule has spoken, and the final epochs are done."""
    return is_stopped(epochs, config) and num_final(epochs) >= final_epochs


def num_final(epochs: Sequence[EpochMetrics]) -> int:
    """How many of the epochs were final ones."""
    return sum(metrics.final for metrics in epochs)


@dataclass(frozen=True)
class NextEpoch:
    """What an epoch begins with. ``number``: from 0. ``is_final``: over all images, after the stopping rule
    has spoken. ``from_best``: it goes on from the best epoch's weights, not from those of the epochs that
    brought nothing.

    Adam keeps its moments of the last epoch. They hold the size of the gradients, which hardly differs
    between epochs near the end, while a fresh Adam would take its first steps without knowing it. The best
    epoch's own moments would take half as much memory again, and the demo's mIoU moved by 0.0004 at most with
    them, and with a fresh Adam.
    """

    number: int
    is_final: bool
    from_best: bool


def next_epoch(epochs: Sequence[EpochMetrics], config: TrainConfig) -> NextEpoch:
    """The epoch that follows ``epochs`` in a run that is not finished."""
    is_final = is_stopped(epochs, config)
    return NextEpoch(len(epochs), is_final, from_best=is_final and not epochs[-1].final)


def steps_done(epochs: Sequence[EpochMetrics]) -> int:
    """Optimisation steps that have been taken."""
    return epochs[-1].steps if epochs else 0


def epoch_rates(
    epochs: Sequence[EpochMetrics], config: TrainConfig, num_steps: int, final_epochs: int
) -> list[float]:
    """The share of the learning rate at each of the ``num_steps`` steps of the next epoch.

    The rate falls over the last ``falling`` part of a run of given steps, else over the final epochs.
    """
    if config.steps is not None:
        return rate_shares(config.steps - steps_done(epochs), config.falling * config.steps, num_steps)
    if is_stopped(epochs, config):
        num_left = final_epochs - num_final(epochs)
        return rate_shares(num_left * num_steps, final_epochs * num_steps, num_steps)
    return [1.0] * num_steps


def rate_shares(num_left: int, num_falling: float, num_steps: int) -> list[float]:
    """The share of the learning rate at each of the next ``num_steps`` steps, ``num_left`` before the end.

    All of it, but falling linearly to zero over the last ``num_falling`` steps, which averages the noise of
    small batches out of the weights.
    """
    return [min(1.0, (num_left - i) / num_falling) if num_falling else 1.0 for i in range(num_steps)]


def epoch_name(
    epochs: Sequence[EpochMetrics], config: TrainConfig, steps_per_epoch: int, final_epochs: int
) -> str:
    """The next epoch for people, who count from 1: ``epoch 5 of at most 30, best 4``.

    Early stopping may end training at any epoch, so that no number of them is promised.
    """
    if config.steps is None and is_stopped(epochs, config):
        return f"final epoch {num_final(epochs) + 1} of {final_epochs}"
    best = f", best {best_epoch(epochs) + 1}" if epochs else ""
    if config.steps is None:
        return f"epoch {len(epochs) + 1} of at most {config.max_epochs}{best}"
    return f"epoch {len(epochs) + 1} of {-(-config.steps // steps_per_epoch)}{best}"
