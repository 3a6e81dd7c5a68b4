"""Which images validate, and in which order the others are learnt. Pure functions of numbers and a seed.

``part`` is 0 for the source's images, 1 for the target's, 2 for pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.machine.random_streams import Purpose, counter_based


@dataclass(frozen=True)
class Split:
    """Places of images, ascending and disjoint."""

    training: tuple[int, ...]
    validation: tuple[int, ...]


def split(num: int, held_out: float, seed: int, part: int) -> Split:
    """Hold out ``round(held_out * num)`` of ``num`` images: at least one where there are two, never all."""
    wanted = 0 if held_out == 0 or num < 2 else min(max(1, round(held_out * num)), num - 1)
    order = counter_based(Purpose.TRANSLATE_SPLIT, seed, 0, part).permutation(num)
    places = (sorted(order[wanted:].tolist()), sorted(order[:wanted].tolist()))
    return Split(*map(tuple, places))


def num_steps(num_source: int, num_target: int, batch_size: int) -> int:
    """Steps of an epoch: as many full batches as the images of the larger side need."""
    return -(-max(num_source, num_target) // batch_size)


def epoch_order(num: int, length: int, seed: int, epoch: int, part: int) -> NDArray[np.int64]:
    """(length,) places of ``num`` images: one random order of all of them after the other, until it is full.

    So no image comes a second time before each has come once.
    """
    random = counter_based(Purpose.TRANSLATE_ORDER, seed, epoch, part)
    orders = [random.permutation(num) for _ in range(-(-length // num))]
    return np.concatenate(orders)[:length].astype(np.int64)
