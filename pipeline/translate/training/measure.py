"""Measures generators and discriminators on images that stay the same from epoch to epoch.

It adds up what `pipeline.translate.training.metrics` says of each image. It changes no network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.models.patch_discriminator import feedback
from pipeline.translate.folder import BACKWARD, FORWARD
from pipeline.translate.sides import SOURCE, TARGET
from pipeline.translate.training.batches import BatchPlan
from pipeline.translate.training.learner import OF_SOURCE, OF_TARGET, Learner
from pipeline.translate.training.metrics import pixel_error, squared_error

MOST_MEASURED = 128  # images of a side, of those that learn and of those that validate
Places = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Measured:
    """The images that are measured: places of either side. ``validation`` may be empty."""

    training: Places
    validation: Places


def measured_images(batches: BatchPlan) -> Measured:
    """The first images of each side's split, at most MOST_MEASURED of each."""
    source, target = batches.splits
    return Measured(
        (source.training[:MOST_MEASURED], target.training[:MOST_MEASURED]),
        (source.validation[:MOST_MEASURED], target.validation[:MOST_MEASURED]),
    )


@torch.inference_mode()
def measure(learner: Learner, batches: BatchPlan, places: Places) -> dict[str, Any]:
    """What generators and discriminators do to the central squares of these images, as JSON.

    {"source_to_target": {...}, "target_to_source": {...}, "real": {"source": ..., "target": ...}}

    Of each direction ``feedback`` is how real what it makes looks to the discriminator of its domain, in the
    mean over images; of pairs ``l2`` and ``pixel_error`` say how far it is from the partner. ``real`` is the
    feedback on the images themselves. Without an adversary there is no feedback; a side without images has
    nothing.
    """
    sums: dict[tuple[str, str], _Mean] = {}

    def add(group: str, name: str, values: Tensor) -> None:
        sums.setdefault((group, name), _Mean()).add(values)

    for source, target in _parts(batches, places):
        a, b = learner.images(source), learner.images(target)
        for direction, given, true, judge, name in (
            (FORWARD, a, b, OF_TARGET, "target"),
            (BACKWARD, b, a, OF_SOURCE, "source"),
        ):
            if len(given):
                made = learner.carried(direction, given)
                if learner.discriminators:
                    add(direction, "feedback", feedback(learner.judged(judge, made)))
                if batches.is_paired:
                    add(direction, "l2", squared_error(made, true))
                    add(direction, "pixel_error", pixel_error(made, true))
            if len(true) and learner.discriminators:
                add("real", name, feedback(learner.judged(judge, true)))
    found: dict[str, Any] = {}
    for group in (FORWARD, BACKWARD, "real"):
        values = {name: mean.value for (of, name), mean in sums.items() if of == group}
        if values:
            found[group] = values
    return found


class _Mean:
    """A mean over images that come in parts. A class, because parts are added."""

    def __init__(self) -> None:
        self._total, self._num = 0.0, 0

    def add(self, values: Tensor) -> None:
        """Further values [N]."""
        self._total += float(values.double().sum())
        self._num += len(values)

    @property
    def value(self) -> float:
        """The mean of all that came."""
        return self._total / self._num


def _parts(batches: BatchPlan, places: Places) -> Iterator[tuple[Tensor, Tensor]]:
    """The images in parts of a batch's size; one side may end before the other."""
    size = batches.batch_size
    for start in range(0, max(map(len, places)), size):
        part: tuple[Sequence[int], Sequence[int]] = (
            places[SOURCE][start : start + size],
            places[TARGET][start : start + size],
        )
        yield batches.centres(part)
