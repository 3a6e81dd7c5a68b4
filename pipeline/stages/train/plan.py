"""What a training run will do: images to learn from, pixels to validate on, when to stop, what it costs.

Pure functions of the class index, the settings and a seed. Nothing here reads a store or touches a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from fstore.display import human_bytes
from fstore.meta import KeypointInfo
from pipeline.interpreter.description import EpochMetrics
from pipeline.settings.schema import TrainConfig
from pipeline.stages.costs import IMPORTS_BYTES
from pipeline.stages.train.memory import BUFFER_MB, Demand, MemoryPlan

FLOAT_BYTES, FEATURE_BYTES = 4, 2
READING_BYTES = 24 * 2**20  # a reader's float32 rows of a map while it interpolates
LABELLING_CHUNK = 2048  # pixels labelled at once in validation
VALIDATION_SIDE = 64  # rows and columns of an image whose heat maps are validated, where sigma allows
CPU_FLOPS = 40e9  # of one thread, measured on these products; for the estimate only, as the next two
GPU_FLOPS = 4e12
READ_BYTES_PER_SECOND = 200e6


class Purpose(IntEnum):
    """What a random stream is for: streams of different purposes are independent."""

    SPLIT = 0
    VALIDATION = 1


@dataclass(frozen=True)
class Split:
    """Positions in the store, ascending and disjoint. An image without a labelled pixel is in neither."""

    training: tuple[int, ...]
    held_out: tuple[int, ...]


@dataclass(frozen=True)
class ValidationPixels:
    """P held-out pixels: positions of their images in the store, rows, columns, labels, each (P,) int64."""

    images: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    labels: np.ndarray


def split_images(present: np.ndarray, held_out: float, seed: int) -> Split:
    """Hold out ``round(held_out * n)`` of the n labelled images; at least one of two if any, never all.

    ``present`` (N, K) bool: whether an image has pixels of a class. Images are taken in a seeded order; those
    whose loss would leave a class without a training image are taken only where the others do not suffice.
    """
    labelled = np.flatnonzero(present.any(axis=1))
    wanted = 0
    if held_out > 0 and len(labelled) >= 2:
        wanted = min(max(1, round(held_out * len(labelled))), len(labelled) - 1)
    order = _stream(seed, Purpose.SPLIT).permutation(labelled)
    images_of_class = present.sum(axis=0)  # [K], of those still in training
    chosen: list[int] = []
    for spare_needed in (True, False):
        for image in order:
            fits = not spare_needed or (images_of_class[present[image]] >= 2).all()
            if len(chosen) < wanted and image not in chosen and fits:
                chosen.append(int(image))
                images_of_class = images_of_class - present[image]
    return Split(tuple(int(i) for i in labelled if i not in chosen), tuple(sorted(chosen)))


def choose_validation(
    masks: np.ndarray, images: Sequence[int], drawable: np.ndarray, num_pixels: int, seed: int
) -> ValidationPixels:
    """At most ``num_pixels`` pixels, uniform without replacement over all pixels of drawable classes.

    ``masks`` (m, H, W) belong to ``images``, positions in the store. ``drawable`` (K,) bool excludes the
    ignore label; labels outside [0, K) are never chosen. Ordered by image, row and column.
    """
    inside = masks < len(drawable)
    candidates = np.flatnonzero(inside & drawable[np.where(inside, masks, 0)])
    if len(candidates) > num_pixels:
        candidates = _stream(seed, Purpose.VALIDATION).choice(candidates, num_pixels, replace=False)
        candidates.sort()
    image, row, column = np.unravel_index(candidates, masks.shape)
    labels = masks.reshape(-1)[candidates].astype(np.int64)
    return ValidationPixels(np.asarray(images, dtype=np.int64)[image], row, column, labels)


def validation_grid(
    height: int, width: int, sigma: float, num_pixels: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Rows, columns and their distance: a regular grid of pixels of an image to validate heat maps on.

    At most 64 x 64 pixels where that is fine enough: two sigma apart or less, so that a heat map is exp(-1)
    or more at its highest pixel, and its peak is found between the pixels. Else finer, up to ``num_pixels``:
    an image's features with 5,088 channels take 42 MB on 64 x 64 pixels, and 667 MB on 256 x 256. Where that
    bound leaves the pixels more than two sigma apart (the default, 20,000: sigma below 1/282 of a square
    image's side) some peaks fall between them, and PCK is an underestimate.
    """
    coarsest = -(-max(height, width) // VALIDATION_SIDE)
    stride = min(coarsest, max(1, int(2 * sigma)))
    while stride < coarsest and _grid_size(height, stride) * _grid_size(width, stride) > num_pixels:
        stride += 1
    rows, columns = (np.arange(min(stride, size) // 2, size, stride) for size in (height, width))
    return rows, columns, stride


def _grid_size(size: int, stride: int) -> int:
    return len(range(min(stride, size) // 2, size, stride))


def best_epoch(epochs: Sequence[EpochMetrics]) -> int:
    """The first epoch of the highest validation mIoU, or the lowest heat-map error; without held-out images,
    of the lowest loss.
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


def is_finished(epochs: Sequence[EpochMetrics], plan: TrainPlan) -> bool:
    """Whether training ends here: the stopping rule has spoken and the final epochs are done."""
    num_final = sum(epoch.final for epoch in epochs)
    return is_stopped(epochs, plan.config) and num_final >= plan.final_epochs


def rate_shares(num_left: int, num_falling: float, num_steps: int) -> list[float]:
    """The share of the learning rate at each of the next ``num_steps`` steps, ``num_left`` before the end.

    All of it, but falling linearly to zero over the last ``num_falling`` steps, which averages the noise of
    small batches out of the weights.
    """
    return [min(1.0, (num_left - i) / num_falling) if num_falling else 1.0 for i in range(num_steps)]


@dataclass(frozen=True)
class TrainPlan:
    """The run in numbers. ``epoch_bytes``: read from the store in one epoch, uncompressed.

    ``unit_bytes`` is what reading one sampling unit costs, ``unit_pixels`` are its pixels at most,
    ``unit_draws`` the different ones that an epoch draws of it, by all members. ``pyramid_bytes``: all maps
    of the store, 0 for a dense one. ``num_classes``: outputs of a member. ``keypoints``: what these are where
    they are heats and not classes' logits.
    """

    split: Split
    config: TrainConfig
    channels: int
    widths: tuple[int, int]
    num_classes: int
    steps_per_epoch: int
    epoch_bytes: int
    unit_bytes: int
    unit_pixels: int
    unit_draws: int
    mask_bytes: int
    pyramid_bytes: int
    validation_pixels: int
    missing_classes: tuple[str, ...]
    keypoints: KeypointInfo | None = None

    @property
    def final_epochs(self) -> int:
        """Epochs over all images after the stopping rule has spoken.

        Of 16 annotated images a held-out eighth is too much to leave unlearnt (docs/performance.md). None
        where nothing is held out, or the number of steps is given.
        """
        return self.config.final_epochs if self.split.held_out and self.config.steps is None else 0

    @property
    def max_steps(self) -> int:
        """Optimisation steps at most; those of the final epochs, which may be a few more each, not exact."""
        return self.config.steps or (self.config.max_epochs + self.final_epochs) * self.steps_per_epoch

    @property
    def weight_bytes(self) -> int:
        """Bytes of all members' parameters."""
        h1, h2 = self.widths
        member = (self.channels + 3) * h1 + (h1 + 3) * h2 + (h2 + 1) * self.num_classes
        return self.config.members * member * FLOAT_BYTES

    @property
    def disk_bytes(self) -> int:
        """Bytes on disk at most: a training state, and its successor until that is whole."""
        return 2 * 4 * self.weight_bytes  # a state: weights, two moments of each, the best epoch's weights

    @property
    def network_memory_bytes(self) -> int:
        """Memory at most of weights, gradients, Adam moments, best weights, and a chunk being validated."""
        chunk = min(LABELLING_CHUNK, self.validation_pixels)
        hidden = 3 * self.config.members * sum(self.widths)
        return 6 * self.weight_bytes + chunk * (self.channels + hidden) * FLOAT_BYTES

    @property
    def pixel_bytes(self) -> int:
        """Bytes of one pixel's feature."""
        return self.channels * FEATURE_BYTES

    @property
    def buffer_bytes(self) -> int:
        """Bytes at most of the shuffle buffer."""
        return self.demand(on_gpu=False).buffer_bytes(self.config.buffer_mb or BUFFER_MB)

    def demand(self, *, on_gpu: bool) -> Demand:
        """Host memory of the run before it is shared out; with ``on_gpu`` the network lies elsewhere."""
        c = self.config
        batch = c.members * c.batch_size
        state = 4 * self.weight_bytes  # what saving it copies; nothing is validated meanwhile
        network = 2 * state if on_gpu else max(self.network_memory_bytes, 6 * self.weight_bytes + state)
        fixed = IMPORTS_BYTES + network + self.mask_bytes
        fixed += self.validation_pixels * self.pixel_bytes + 5 * batch * self.pixel_bytes
        return Demand(
            fixed_bytes=fixed,
            unit_bytes=self.unit_draws * self.pixel_bytes,
            reading_bytes=2 * self.unit_bytes + READING_BYTES,
            least_buffer_bytes=(c.members * (c.batch_size - 1) + self.unit_pixels) * self.pixel_bytes,
            epoch_bytes=batch * self.steps_per_epoch * self.pixel_bytes,
            pyramid_bytes=self.pyramid_bytes,
        )

    def epoch_seconds(self, flops_per_second: float) -> float:
        """A rough estimate: the slower of arithmetic and reading, which overlap."""
        flops = 2 * self.steps_per_epoch * self.config.batch_size * self.weight_bytes / FLOAT_BYTES * 2
        flops += 2 * self.validation_pixels * self.weight_bytes / FLOAT_BYTES
        return max(flops / flops_per_second, self.epoch_bytes / READ_BYTES_PER_SECOND)

    def lines(
        self, memory: MemoryPlan, *, free_bytes: int | None = None, flops_per_second: float = CPU_FLOPS
    ) -> list[str]:
        """The plan for people, a line a subject."""
        c, (h1, h2), k = self.config, self.widths, self.num_classes
        positions = ", ".join(map(str, self.split.held_out))
        held = f"{len(self.split.held_out)} held out ({positions})" if positions else "none held out"
        quality = "mIoU" if self.keypoints is None else "heat-map error"
        rule = f"after {c.patience} epochs without a better {quality if self.split.held_out else 'loss'}"
        stop = f"after {c.steps:,} steps" if c.steps else f"{rule}, or after {c.max_epochs} epochs"
        stop += f"; then {self.final_epochs} epochs over all images" if self.final_epochs else ""
        seconds = self.epoch_seconds(flops_per_second)
        total = seconds * self.max_steps / self.steps_per_epoch
        cached = f", {human_bytes(self.pyramid_bytes)} the whole pyramid" if memory.cached else ""
        free = "" if free_bytes is None else f", {human_bytes(free_bytes)} free"
        return [
            f"interpreter  {c.members} members of {self.channels} -> {h1} -> {h2} -> {k}, "
            f"{human_bytes(self.weight_bytes)}",
            f"images       {len(self.split.training)} for training, {held}",
            f"epoch        {self.steps_per_epoch:,} steps of {c.members} x {c.batch_size} pixels, "
            f"reads {human_bytes(self.epoch_bytes)}",
            f"stops        {stop}",
            f"memory       at most {human_bytes(memory.host_bytes)} of the host's, "
            f"{memory.buffer_mb} MiB of it the shuffle buffer{cached}",
            f"precision    {c.precision} in the first layer's products",
            f"disk         at most {human_bytes(self.disk_bytes)}{free}",
            f"time         roughly {_duration(seconds)} an epoch, {_duration(total)} at most",
        ]


def _stream(seed: int, purpose: Purpose) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence((seed, int(purpose)), spawn_key=(1,)))


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
