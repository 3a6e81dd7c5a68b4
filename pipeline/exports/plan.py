"""Plans an export: which image belongs to which split, and which images are written together.

Pure: it follows from counts, the seed and the numbers of the images. It reads no store and no folder. Places
are ranges and arrays, never lists of Python's integers: of a million images a plan takes a few megabytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from pipeline.machine.random_streams import Purpose, counter_based
from pipeline.settings.values import Split

KEY_BLOCK = 4096  # images whose random keys are drawn together: a generator for each image takes longer


@dataclass(frozen=True)
class SplitPlan:
    """One split: its name (None where there is but one), and the places of its images in the export."""

    name: str | None
    places: Sequence[int]


@dataclass(frozen=True)
class Part:
    """Images that are written together and marked together.

    index: the part's number in the export. split: its name, or None. number: the part's number within its
    split, of num_parts. places: the images' places in the export, ascending.
    """

    index: int
    split: str | None
    number: int
    num_parts: int
    places: Sequence[int]


def split_images(
    numbers: Sequence[int] | np.ndarray, split: Split | None, seed: int
) -> tuple[SplitPlan, ...]:
    """Share out the images with these numbers. Each is in exactly one split, in its order.

    A split has its exact fraction of the images, rounded by the largest remainder. Which images it has
    follows from the seed and their numbers: images are ranked by a random key of their own.
    """
    if split is None:
        return (SplitPlan(None, range(len(numbers))),)
    ranked = np.argsort(_random_keys(np.asarray(numbers, np.int64), seed), kind="stable")
    sizes = shares(len(numbers), [fraction for _, fraction in split.parts])
    plans, first = [], 0
    for (name, _), size in zip(split.parts, sizes, strict=True):
        places = np.sort(ranked[first : first + size]).astype(np.int64)
        plans.append(SplitPlan(name, array("q", places.tobytes())))
        first += size
    return tuple(plans)


def _random_keys(numbers: np.ndarray, seed: int) -> np.ndarray:
    """(N,) float64 from [0, 1): the key of an image is a function of the seed and its number alone."""
    keys = np.empty(len(numbers))
    blocks, block_of = np.unique(numbers // KEY_BLOCK, return_inverse=True)
    members = np.split(np.argsort(block_of, kind="stable"), np.cumsum(np.bincount(block_of))[:-1])
    for block, here in zip(blocks.tolist(), members, strict=False):  # of no images there is one empty member
        drawn = counter_based(Purpose.EXPORT_SPLIT, seed, block).random(KEY_BLOCK)
        keys[here] = drawn[numbers[here] % KEY_BLOCK]
    return keys


def shares(total: int, fractions: Sequence[Fraction]) -> list[int]:
    """Whole numbers with the sum ``total`` in the ratio of the fractions, whose sum is 1.

    Each is its exact share, rounded down, or one more: those with the largest remainders get one more, the
    earlier first where remainders are equal.
    """
    exact = [total * fraction for fraction in fractions]
    sizes = [int(share) for share in exact]
    order = sorted(range(len(exact)), key=lambda i: (sizes[i] - exact[i], i))
    for i in order[: total - sum(sizes)]:
        sizes[i] += 1
    return sizes


def plan_parts(splits: Sequence[SplitPlan], part_images: int) -> tuple[Part, ...]:
    """All parts, split by split, each of at most ``part_images``."""
    parts: list[Part] = []
    for split in splits:
        groups = [
            split.places[first : first + part_images] for first in range(0, len(split.places), part_images)
        ]
        for number, places in enumerate(groups):
            parts.append(Part(len(parts), split.name, number, len(groups), places))
    return tuple(parts)
