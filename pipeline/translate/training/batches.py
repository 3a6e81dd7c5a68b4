"""The batches of a translator: random crops of both sides in the order of an epoch, and central squares to
measure on.

It knows sides, crops and orders. It knows no networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.machine.read_ahead import read_ahead
from pipeline.translate.crops import CENTRE, Crop, cropped, drawn_crop
from pipeline.translate.order import Split, epoch_order, num_steps
from pipeline.translate.pairs import check_pair
from pipeline.translate.sides import PAIR, SOURCE, TARGET, Picture, Side

BATCHES_AHEAD = 2
Both = tuple[Tensor, Tensor]
"""Images of the source and of the target, [B, 3, R, R] uint8 each."""


@dataclass(frozen=True)
class BatchPlan:
    """How batches are made of two sides, whose images learn and validate as ``splits`` says.

    is_paired: the sides' places are pairs, and ``splits`` are equal. crops: the least share of a picture's
    shorter side that is learnt from, of each side; of pairs the source's holds for both.
    """

    sides: tuple[Side, Side]
    splits: tuple[Split, Split]
    is_paired: bool
    crops: tuple[float, float]
    resolution: int
    batch_size: int
    seed: int

    @property
    def num_steps(self) -> int:
        """Batches in an epoch."""
        source, target = self.splits
        return num_steps(len(source.training), len(target.training), self.batch_size)

    def orders(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Places of an epoch's images of either side: a row a batch, (num_steps, batch_size)."""
        parts = (PAIR, PAIR) if self.is_paired else (SOURCE, TARGET)
        shape = self.num_steps, self.batch_size
        source, target = (
            np.array(each.training)[
                epoch_order(len(each.training), shape[0] * shape[1], self.seed, epoch, part)
            ]
            for each, part in zip(self.splits, parts, strict=True)
        )
        return source.reshape(shape), target.reshape(shape)

    def batches(self, epoch: int, first: int = 0) -> Iterator[Both]:
        """The batches of an epoch from number ``first`` on, made ahead on a thread of its own.

        Raises StoreError, UsageError where a picture cannot be read.
        """
        source, target = self.orders(epoch)

        def make(step: int) -> Both:
            drawn = range(step * self.batch_size, (step + 1) * self.batch_size)
            places = source[step].tolist(), target[step].tolist()
            return self._cut(places, *(self._crops(epoch, drawn, side) for side in (SOURCE, TARGET)))

        return read_ahead(make, range(first, self.num_steps), BATCHES_AHEAD, most_threads=1)

    def check_unchanged(self) -> None:
        """Raise StoreError where the images of a side are no longer those that its record names."""
        for side in self.sides:
            side.check_unchanged()

    def centres(self, places: tuple[Sequence[int], Sequence[int]]) -> Both:
        """The central squares of the images at these places of either side."""
        return self._cut(places, *([CENTRE] * len(of_side) for of_side in places))

    def _crops(self, epoch: int, drawn: Sequence[int], side: int) -> list[Crop]:
        least, part = (self.crops[SOURCE], PAIR) if self.is_paired else (self.crops[side], side)
        return [drawn_crop(least, self.seed, epoch, place, part) for place in drawn]

    def _cut(
        self,
        places: tuple[Sequence[int], Sequence[int]],
        of_source: Sequence[Crop],
        of_target: Sequence[Crop],
    ) -> Both:
        pictures = [side.read(wanted) for side, wanted in zip(self.sides, places, strict=True)]
        if self.is_paired:
            for place, one, other in zip(places[SOURCE], *pictures, strict=True):
                check_pair(*self.sides, place, (one.shape[:2], other.shape[:2]))
        return self._squares(pictures[SOURCE], of_source), self._squares(pictures[TARGET], of_target)

    def _squares(self, pictures: Sequence[Picture], crops: Sequence[Crop]) -> Tensor:
        squares = np.empty((len(pictures), 3, self.resolution, self.resolution), np.uint8)
        for place, (picture, crop) in enumerate(zip(pictures, crops, strict=True)):
            squares[place] = cropped(picture, crop, self.resolution).transpose(2, 0, 1)
        return torch.from_numpy(squares)
