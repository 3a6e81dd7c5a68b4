"""A store to draw pixels from, its plans and draws, and tests of equal chances."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fstore.format import class_counts
from fstore.plan import EpochPlan, plan_epoch
from fstore.sampler import Batch

IGNORE = 255
DENSE = (1, 1)
PYRAMID = (2, 3)  # a band of 32 rows of a store three tiles wide


@dataclass
class FakeStore:
    """A store whose features are (image, row, column, 0, ...). It notes the units that each call reads."""

    masks: np.ndarray  # [n, H, W]
    num_classes: int
    unit_tiles: tuple[int, int] = DENSE
    ignore: int | None = IGNORE
    channels: int = 3
    read_unit_bytes: int = 0
    reads: list[set[tuple[int, int, int]]] = field(default_factory=list)
    delays: Sequence[float] = (0.0,)

    def __post_init__(self) -> None:
        self.shape = (*self.masks.shape, self.channels)
        self.class_counts = np.stack([class_counts(mask, self.num_classes) for mask in self.masks])
        self.meta: Any = SimpleNamespace(ignore=self.ignore)
        self.read_unit_bytes = self.read_unit_bytes or 64 * self.channels * 2

    def read_masks(self, images: Sequence[int]) -> np.ndarray:
        return self.masks[list(images)]

    def pixels(self, images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        time.sleep(self.delays[len(self.reads) % len(self.delays)])
        height, width = 16 * self.unit_tiles[0], 16 * self.unit_tiles[1]
        self.reads.append(set(zip(images.tolist(), rows // height, columns // width, strict=True)))
        features = np.zeros((len(images), self.channels), np.float16)
        features[:, :3] = np.stack([images, rows, columns], axis=1)
        return features


def make_masks() -> np.ndarray:
    """Three images of 40 x 44 (ragged tiles, width no multiple of 16), six classes.

    Class 1 is half of the left, class 2 sparse, class 3 one pixel of one image, class 4 in image 2 only,
    class 5 absent everywhere; a strip is ignored.
    """
    rng = np.random.default_rng(5)
    masks = np.zeros((3, 40, 44), np.uint8)
    masks[:, :, :18] = rng.integers(0, 2, (3, 40, 18))
    masks[rng.random(masks.shape) < 0.006] = 2
    masks[2, 30:, 30:] = 4
    masks[:, 17:20, :] = IGNORE
    masks[masks == 3] = 0
    masks[1, 39, 43] = 3
    return masks


MASKS = make_masks()
NUM_CLASSES = 6
LAYOUTS = pytest.mark.parametrize("unit_tiles", [DENSE, PYRAMID], ids=["dense", "pyramid"])


def make_store(unit_tiles: tuple[int, int] = DENSE, **changes: Any) -> FakeStore:
    return FakeStore(MASKS, NUM_CLASSES, unit_tiles, **changes)


def regions_of(masks: np.ndarray) -> set[tuple[int, int]]:
    return {(i, int(k)) for i, mask in enumerate(masks) for k in np.unique(mask) if k != IGNORE}


def drawn(batches: Sequence[Batch], member: int) -> tuple[np.ndarray, np.ndarray]:
    """(image, row, column) [d, 3] and label [d] of all that a member drew, decoded from the features."""
    features = np.concatenate([batch.features[member] for batch in batches])
    return features[:, :3].astype(np.int64), np.concatenate([batch.labels[member] for batch in batches])


def plan_of(masks: np.ndarray, **changes: Any) -> EpochPlan:
    counts = np.stack([class_counts(mask, NUM_CLASSES) for mask in masks])
    defaults: dict[str, Any] = dict(
        seed=0, epoch=0, alpha=1.0, draws=100, draws_per_unit=8.0, unit_tiles=DENSE
    )
    return plan_epoch(counts, **(defaults | changes))


def chi_square_critical(degrees: int, z: float) -> float:
    """The value that chi-square exceeds as rarely as a normal exceeds z (Wilson and Hilferty 1931)."""
    spread = 2 / (9 * degrees)
    return degrees * (1 - spread + z * spread**0.5) ** 3


def equal_means_statistic(samples: np.ndarray) -> tuple[float, int]:
    """Hotelling's T-squared of "all columns have one mean", scaled to chi-square; its degrees of freedom.

    Draws of one epoch come in clusters (a unit's pixels are in or out together), so Pearson's statistic,
    which takes single draws to be independent, would not follow chi-square. Epochs of different seeds are
    independent: each is one row of ``samples`` [seeds, pixels], and the covariance of pixels is taken from
    the rows themselves.
    """
    contrasts = samples[:, 1:] - samples[:, :-1]
    num_seeds, degrees = contrasts.shape
    mean = contrasts.mean(axis=0)
    t_squared = num_seeds * mean @ np.linalg.solve(np.cov(contrasts.T), mean)
    return float(t_squared * (num_seeds - degrees) / (num_seeds - 1)), degrees
