"""Draws stratified batches of pixel features by reading whole chunks, as ``fstore.plan`` plans an epoch.

One pass over the chosen units serves every member of the ensemble. One ``store.pixels`` call for each unit
reads the pixels that any member drew. They wait in a bounded shuffle buffer, and leave it in batches. Each
member has its own batches.

This module knows no files and no layout. It works with any object that has the members of ``SampledStore``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from math import ceil
from threading import Lock
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fstore.errors import StoreError
from fstore.format import TILE
from fstore.plan import EpochPlan, Ints, Purpose, choose_pixels, count_regions, plan_epoch, random_stream

__all__ = ["Batch", "SampledStore", "StratifiedChunkSampler", "choose_pixels", "plan_epoch"]

DEFAULT_DRAWS = 131072  # per member and epoch: 2,048 batches of 64
FEATURE_BYTES = 2  # float16


class SampledStore(Protocol):
    """What the sampler asks of a store of n images, H x W pixels, C channels and K classes."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, H, W, C)."""

    @property
    def class_counts(self) -> NDArray[np.integer]:
        """(n, ceil(H / 16), ceil(W / 16), K): pixels of each class in each tile."""

    @property
    def unit_tiles(self) -> tuple[int, int]:
        """Tiles (rows, columns) of a unit: the pixels that are cheap to read together."""

    @property
    def read_unit_bytes(self) -> int:
        """Bytes that reading one unit costs, uncompressed."""

    @property
    def meta(self) -> Any:
        """Only ``meta.ignore`` is used: the label that is never drawn, or None."""

    def read_masks(self, images: Sequence[int]) -> NDArray[np.integer]:
        """Labels (len(images), H, W)."""

    def pixels(self, images: Ints, rows: Ints, columns: Ints) -> NDArray[np.float16] | Tensor:
        """Features (n, C) float16 of n pixels; a tensor where they lie on a device. Called by threads."""


@dataclass(frozen=True)
class Batch:
    """One step: ``features`` (members, batch, C) float16 on the store's device, ``labels`` (members, batch)
    int64, and which pixels these are: ``pixels`` (members, batch) int64, flat indices into (n, H, W).
    """

    features: Tensor
    labels: Ints
    pixels: Ints


@dataclass(frozen=True)
class _Block:
    """A unit: ``features`` [r, C] of drawn pixels, which are ``pixels`` [r], flat indices into (n, H, W); its
    draws as ``rows`` [members, d] of these and ``labels`` [d].
    """

    features: Tensor
    pixels: Ints
    rows: Ints
    labels: Ints


class StratifiedChunkSampler:
    """Epochs of batches over a store, each determined by (seed, epoch).

    It is a class because it keeps masks and counters.

    ``batch_size``: samples of a member in a batch. ``alpha``: class mix proportional to frequency ** alpha, 1
    natural, 0 balanced. ``draws_per_epoch``: samples of a member in an epoch (None: as many as there are
    labelled pixels, at most 131,072), raised to at least one for each class in each image, then to whole
    batches. So every epoch is exactly ``steps_per_epoch`` full batches, nothing is padded or dropped, and
    each member draws from every (image, class) region. ``images``: the positions in the store to draw from
    (None: all).

    ``read_factor``: the bytes read are at most this many times the bytes of one member's draws, plus (regions
    + 1) units. ``buffer_bytes``: the most that the features in the shuffle buffer take. Besides them the
    drawn pixels of ``units_ahead`` + 1 units at most are in flight: ``threads`` read so many units ahead
    (None: one a thread), also while batches leave the buffer, which changes nothing but the time.

    ``dealt``: the members that get batches (None: all). The others' pixels are drawn and read all the same,
    so that a member's batches are the same whoever else gets some.

    ``units_read`` and ``bytes_read`` (features, uncompressed) count since the sampler was made.
    Raises StoreError for arguments that do not fit the store.
    """

    def __init__(
        self,
        store: SampledStore,
        *,
        batch_size: int,
        members: int = 1,
        alpha: float = 1.0,
        seed: int = 0,
        draws_per_epoch: int | None = None,
        images: Sequence[int] | None = None,
        read_factor: float = 8.0,
        buffer_bytes: int = 512 * 2**20,
        threads: int = 1,
        units_ahead: int | None = None,
        dealt: range | None = None,
    ) -> None:
        _check_positive(batch_size=batch_size, members=members, draws_per_epoch=draws_per_epoch)
        _check_positive(read_factor=read_factor, buffer_bytes=buffer_bytes)
        _check_positive(threads=threads, units_ahead=units_ahead)
        self.store = store
        self.batch_size = batch_size
        self.members = members
        self.alpha = alpha
        self.seed = seed
        self.dealt = _check_dealt(dealt, members)
        self.threads = threads
        self.units_ahead = units_ahead or threads
        self.images = _check_images(images, store.shape[0])
        self._raster = store.shape[:3]
        self.units_read = 0
        self.bytes_read = 0
        self._masks: dict[int, NDArray[np.integer]] = {}
        self._reading_masks = Lock()
        self._counts = _drawable_counts(store, self.images)
        labelled = int(self._counts.sum(dtype=np.int64))
        if labelled == 0:
            positions = self.images.tolist()
            raise StoreError(f"array 'class_counts': no labelled pixel in images {positions}; choose others")
        wanted = min(labelled, DEFAULT_DRAWS) if draws_per_epoch is None else draws_per_epoch
        self.steps_per_epoch = ceil(max(wanted, count_regions(self._counts)) / batch_size)
        used_bytes_per_draw = read_factor * store.shape[3] * FEATURE_BYTES
        self._draws_per_unit = max(1.0, store.read_unit_bytes / used_bytes_per_draw)
        self._buffer_rows = self._check_buffer(buffer_bytes)
        self.plan(0)  # what is wrong with alpha or the seed is said now, not at the first epoch

    @property
    def draws_per_epoch(self) -> int:
        """Samples of each member in an epoch, coverage included."""
        return self.steps_per_epoch * self.batch_size

    def plan(self, epoch: int) -> EpochPlan:
        """The plan of an epoch; image numbers in it are positions in ``images``."""
        return plan_epoch(
            self._counts,
            seed=self.seed,
            epoch=epoch,
            alpha=self.alpha,
            draws=self.draws_per_epoch,
            draws_per_unit=self._draws_per_unit,
            unit_tiles=self.store.unit_tiles,
        )

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The ``steps_per_epoch`` batches of an epoch. Raises whatever reading the store raises."""
        plan = self.plan(epoch)
        rows = min(self._buffer_rows, self.members * plan.num_draws)
        buffer: _ShuffleBuffer | None = None
        num_drains = 0
        with closing(self._read_ahead(plan, epoch)) as blocks:
            for block in blocks:
                self.units_read += 1
                self.bytes_read += self.store.read_unit_bytes
                if buffer is None:
                    buffer = _ShuffleBuffer(rows, block.features, self.members, self.batch_size, self.dealt)
                if not buffer.fits(block):
                    yield from buffer.drain(random_stream(self.seed, epoch, Purpose.SHUFFLE, num_drains))
                    num_drains += 1
                buffer.add(block)
                del block  # else it would live on beside the two that are in flight
        assert buffer is not None, "a plan has at least one unit"
        yield from buffer.drain(random_stream(self.seed, epoch, Purpose.SHUFFLE, num_drains))

    def _read_ahead(self, plan: EpochPlan, epoch: int) -> Generator[_Block, None, None]:
        """The plan's blocks in order, the next ones being read while one is used."""
        operator_threads = torch.get_num_threads()
        readers = ThreadPoolExecutor(self.threads, initializer=torch.set_num_threads, initargs=(1,))
        waiting = iter(range(plan.num_units))
        ahead: deque[Future[_Block]] = deque()
        try:
            ahead.extend(
                readers.submit(self._read_unit, plan, i, epoch) for i in islice(waiting, self.units_ahead)
            )
            while ahead:
                block = ahead.popleft().result()
                ahead.extend(readers.submit(self._read_unit, plan, i, epoch) for i in islice(waiting, 1))
                yield block
                del block
        finally:
            readers.shutdown(cancel_futures=True)
            torch.set_num_threads(operator_threads)  # what a reader sets also holds for threads to come

    def _read_unit(self, plan: EpochPlan, index: int, epoch: int) -> _Block:
        image, unit_row, unit_column = (int(v) for v in plan.units[index])
        position = int(self.images[image])
        with self._reading_masks:
            if position not in self._masks:
                self._masks[position] = np.asarray(self.store.read_masks([position]))[0]
        height, width = self.store.unit_tiles[0] * TILE, self.store.unit_tiles[1] * TILE
        top, left = unit_row * height, unit_column * width
        labels = self._masks[position][top : top + height, left : left + width]
        draws = plan.total[index]
        unit = (image, unit_row, unit_column)
        chosen = choose_pixels(labels, draws, seed=self.seed, epoch=epoch, unit=unit, members=self.members)
        pixels, rows = np.unique(chosen, return_inverse=True)
        row, column = np.divmod(pixels, labels.shape[1])
        features = self.store.pixels(np.full(len(pixels), position), top + row, left + column)
        places = np.ravel_multi_index((np.full_like(row, position), top + row, left + column), self._raster)
        return _Block(
            torch.as_tensor(features),
            places,
            rows.reshape(chosen.shape),
            np.repeat(np.arange(len(draws)), draws),
        )

    def _check_buffer(self, buffer_bytes: int) -> int:
        """Rows of the buffer."""
        needed = least_buffer_bytes(self.store, self.members, self.batch_size)
        if buffer_bytes < needed:
            raise StoreError(
                f"buffer_bytes is {buffer_bytes}: expected {needed} or more for {self.members} members, "
                f"batches of {self.batch_size}, units of {_unit_pixels(self.store)} pixels; raise it, or "
                "lower these"
            )
        return buffer_bytes // (self.store.shape[3] * FEATURE_BYTES)


def least_buffer_bytes(store: SampledStore, members: int, batch_size: int) -> int:
    """Bytes of the smallest shuffle buffer: it takes a unit beside what a drain leaves, which is less than a
    batch a member.
    """
    return (members * (batch_size - 1) + _unit_pixels(store)) * store.shape[3] * FEATURE_BYTES


def _unit_pixels(store: SampledStore) -> int:
    """Pixels of the largest unit."""
    _, height, width, _ = store.shape
    unit_rows, unit_columns = store.unit_tiles
    return min(unit_rows * TILE, height) * min(unit_columns * TILE, width)


class _ShuffleBuffer:
    """Gathered features in one allocation, and each member's draws as row numbers in it.

    What a drain cannot put in a full batch stays, moved to the front: less than one batch a member.
    """

    def __init__(self, num_rows: int, like: Tensor, members: int, batch_size: int, dealt: range) -> None:
        self._features = _empty((num_rows, like.shape[1]), like.device)
        self._pixels = np.empty(num_rows, np.int64)
        self._batch_size = batch_size
        self._dealt = slice(dealt.start, dealt.stop)
        self._filled = 0
        self._rows: list[Ints] = [np.empty((members, 0), np.int64)]  # of [members, d]
        self._labels: list[Ints] = [np.empty((members, 0), np.int64)]

    def fits(self, block: _Block) -> bool:
        return self._filled + len(block.features) <= len(self._features)

    def add(self, block: _Block) -> None:
        end = self._filled + len(block.features)
        self._features[self._filled : end] = block.features
        self._pixels[self._filled : end] = block.pixels
        self._rows.append(block.rows + self._filled)
        self._labels.append(np.broadcast_to(block.labels, block.rows.shape))
        self._filled = end

    def drain(self, stream: np.random.Generator) -> Iterator[Batch]:
        """All full batches that the buffer holds, each member's draws in an order of its own."""
        rows = np.concatenate(self._rows, axis=1)  # [members, d]
        labels = np.concatenate(self._labels, axis=1)
        order = stream.permuted(np.broadcast_to(np.arange(rows.shape[1]), rows.shape), axis=1)
        rows, labels = np.take_along_axis(rows, order, axis=1), np.take_along_axis(labels, order, axis=1)
        size = self._batch_size
        full = rows.shape[1] // size * size
        for start in range(0, full, size):
            batch = self._dealt, slice(start, start + size)
            taken = rows[batch]
            yield Batch(self._gather(taken), labels[batch].copy(), self._pixels[taken])
        self._keep(rows[:, full:], labels[:, full:])

    def _gather(self, rows: Ints) -> Tensor:
        """Features [members, size, C] of buffer rows [members, size]."""
        device, channels = self._features.device, self._features.shape[1]
        out = _empty((rows.size, channels), device)
        torch.index_select(self._features, 0, torch.from_numpy(rows.ravel()).to(device), out=out)
        return out.view(*rows.shape, channels)

    def _keep(self, rows: Ints, labels: Ints) -> None:
        kept, places = np.unique(rows, return_inverse=True)
        self._features[: len(kept)] = self._gather(kept)
        self._pixels[: len(kept)] = self._pixels[kept]
        self._rows, self._labels, self._filled = [places.reshape(rows.shape)], [labels], len(kept)


def _empty(shape: tuple[int, int], device: torch.device) -> Tensor:
    """Float16 memory. On a CPU numpy's, which asks the kernel for large pages where torch's does not."""
    if device.type == "cpu":
        return torch.from_numpy(np.empty(shape, np.float16))
    return torch.empty(shape, dtype=torch.float16, device=device)


def _check_positive(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not 0 < value < float("inf"):
            raise StoreError(f"{name} is {value}: expected a positive number; choose another")


def _check_dealt(dealt: range | None, members: int) -> range:
    if dealt is None:
        return range(members)
    if dealt.step != 1 or not 0 <= dealt.start < dealt.stop <= members:
        raise StoreError(f"dealt is {dealt}: expected one or more of {range(members)}")
    return dealt


def _check_images(images: Sequence[int] | None, num_images: int) -> Ints:
    positions = np.arange(num_images) if images is None else np.asarray(images, dtype=np.int64)
    inside = (positions >= 0) & (positions < num_images)
    if (
        positions.ndim != 1
        or len(positions) == 0
        or not inside.all()
        or len(np.unique(positions)) < len(positions)
    ):
        raise StoreError(
            f"images is {images}: expected one or more different positions of 0 to {num_images - 1}"
        )
    return positions


def _drawable_counts(store: SampledStore, images: Ints) -> NDArray[np.integer]:
    """The class index of these images, without the ignore label where it is one of the classes."""
    counts = np.asarray(store.class_counts)[images]  # a copy
    if store.meta.ignore is not None and store.meta.ignore < counts.shape[-1]:
        counts[..., store.meta.ignore] = 0
    return counts
