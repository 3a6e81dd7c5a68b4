"""In which order images are learnt, and the batches of an epoch, made ahead while others are learnt.

It knows samples and arrays. It knows no networks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.inputs.photographs import IGNORED
from pipeline.machine.random_streams import Purpose, counter_based
from pipeline.machine.read_ahead import read_ahead
from pipeline.segment.training.augmentation import Augmentation, augmented, draw
from pipeline.segment.training.data import TrainingImages

BATCHES_AHEAD = 4


@dataclass(frozen=True)
class Batch:
    """images: [B, 3, H, W] uint8. targets: labels [B, H, W] int64, or keypoints [B, K, 3] float32."""

    images: Tensor
    targets: Tensor

    @property
    def has_targets(self) -> bool:
        """Whether anything in it is to be learnt."""
        if self.targets.is_floating_point():
            return bool((self.targets[..., 2] > 0).any())
        return bool((self.targets != IGNORED).any())


@dataclass(frozen=True)
class BatchPlan:
    """How batches are made. A pass over the images leaves out what fills no batch, as the released code."""

    images: TrainingImages
    size: tuple[int, int]
    augmentation: Augmentation
    batch_size: int
    seed: int

    @property
    def num_steps(self) -> int:
        """Batches in an epoch."""
        return len(self.images) // self.batch_size

    def order(self, epoch: int) -> NDArray[np.int64]:
        """The places of the images of an epoch: a row a batch, (num_steps, batch_size)."""
        order = counter_based(Purpose.SEGMENT_ORDER, self.seed, epoch).permutation(len(self.images))
        return order[: self.num_steps * self.batch_size].reshape(self.num_steps, self.batch_size)

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from number ``first`` on, made ahead on a thread of its own."""
        order = self.order(epoch)[first:]
        return read_ahead(
            lambda places: self.make(epoch, places.tolist()), order, BATCHES_AHEAD, most_threads=1
        )

    def make(self, epoch: int, places: list[int]) -> Batch:
        """A batch of the images at these places. Raises StoreError, UsageError."""
        samples = [
            augmented(sample, self.size, self.augmentation, draw(self.seed, epoch, place))
            for sample, place in zip(self.images.read(places), places, strict=True)
        ]
        images = np.stack([sample.picture.transpose(2, 0, 1) for sample in samples])  # [B, 3, H, W]
        return Batch(torch.from_numpy(images), torch.from_numpy(np.stack([s.target for s in samples])))
