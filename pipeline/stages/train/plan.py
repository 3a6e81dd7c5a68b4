"""The plan of a training run: what it will do and cost, in numbers and in lines for people.

Arithmetic on a store's sizes and the settings. Nothing here reads a store or touches a network.
"""

from __future__ import annotations

from dataclasses import dataclass

from fstore.display import human_bytes, human_duration
from fstore.meta import KeypointInfo
from pipeline.errors import count
from pipeline.settings.schema import TrainConfig
from pipeline.stages.costs import IMPORTS_BYTES
from pipeline.stages.train.memory import BUFFER_MB, MIB, Demand, MemoryPlan
from pipeline.stages.train.split import Split

AUTO, OFF = "auto", "off"  # of the subspace

FLOAT_BYTES, FEATURE_BYTES = 4, 2
READING_BYTES = 24 * 2**20  # a reader's float32 rows of a map while it interpolates
MIXED_DRAWS = 2560
"""Of each member, that lie in the smallest shuffle buffer together: five bands of a pyramid in an epoch of 16
images and the default length. Fewer cost quality (docs/performance.md). A buffer asked for may be smaller."""
LABELLING_CHUNK = 2048  # pixels labelled at once in validation
CPU_FLOPS = 40e9  # of one thread, measured on these products; for the estimate only, as the next two
GPU_FLOPS = 4e12
READ_BYTES_PER_SECOND = 200e6


@dataclass(frozen=True)
class TrainPlan:
    """The run in numbers.

    ``epoch_bytes`` are read from the store in one epoch, uncompressed. ``unit_bytes`` is what reading one
    sampling unit costs; it has ``unit_pixels`` at most, of which all members together draw ``unit_draws``
    different ones in an epoch. ``pyramid_bytes``: all maps of the store, 0 for a dense one. ``num_classes``:
    outputs of a member. ``keypoints``: names and sigma where the outputs are heats of keypoints; None where
    they are logits of classes. ``excluded``: positions of the images that take no part, ascending.
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
    excluded: tuple[int, ...] = ()
    map_bytes: int = 0
    """Bytes on disk at most of the maps' coordinates: the temporary files of this process and its workers."""

    @property
    def final_epochs(self) -> int:
        """How many epochs over all images follow when the stopping rule has spoken.

        Of 16 annotated images a held-out eighth is too much to leave unlearnt (docs/performance.md). It is 0
        where nothing is held out, or where the number of steps is given.
        """
        return self.config.final_epochs if self.split.held_out and self.config.steps is None else 0

    @property
    def max_steps(self) -> int:
        """Optimisation steps at most. A final epoch may take a few more than is assumed here."""
        return self.config.steps or (self.config.max_epochs + self.final_epochs) * self.steps_per_epoch

    @property
    def weight_bytes(self) -> int:
        """Bytes of all members' parameters."""
        h1, h2 = self.widths
        member = (self.channels + 3) * h1 + (h1 + 3) * h2 + (h2 + 1) * self.num_classes
        return self.config.members * member * FLOAT_BYTES

    @property
    def state_bytes(self) -> int:
        """Bytes on disk at most of a training state, and its successor until that is whole."""
        return 2 * 4 * self.weight_bytes  # a state: weights, two moments of each, the best epoch's weights

    @property
    def disk_bytes(self) -> int:
        """Bytes on disk at most."""
        return self.state_bytes + self.map_bytes

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
        left_over = c.members * (c.batch_size - 1)
        one_unit = (left_over + self.unit_pixels) * self.pixel_bytes
        mixed = (left_over + c.members * MIXED_DRAWS) * self.pixel_bytes
        return Demand(
            fixed_bytes=fixed,
            unit_bytes=self.unit_draws * self.pixel_bytes,
            reading_bytes=2 * self.unit_bytes + READING_BYTES,
            least_buffer_bytes=max(one_unit, min(mixed, BUFFER_MB * MIB)),
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
        rule = f"after {count(c.patience, 'epoch')} without a better "
        rule += quality if self.split.held_out else "loss"
        rule += f", or after {count(c.max_epochs, 'epoch')}"
        stop = f"after {count(c.steps, 'step')}" if c.steps else rule
        if self.final_epochs:
            stop += f"; then {count(self.final_epochs, 'epoch')} over all images, from the best one's weights"
        seconds = self.epoch_seconds(flops_per_second)
        total = seconds * self.max_steps / self.steps_per_epoch
        each, most = (human_duration(max(value, 1)) for value in (seconds, total))
        cached = f", {human_bytes(self.pyramid_bytes)} the whole pyramid" if memory.cached else ""
        files = f", {human_bytes(self.map_bytes)} of it temporary files of maps" if self.map_bytes else ""
        free = "" if free_bytes is None else f", {human_bytes(free_bytes)} free"
        reads, axes = f", reads {human_bytes(self.epoch_bytes)}", "learns on all channels"
        if c.subspace != OFF:
            part = f"{100 * float(c.subspace):g}% of the energy"
            reads, axes = "", f"the axes that hold {part}, found in one pass before the first epoch"
        return [
            f"interpreter  {count(c.members, 'member')} of {self.channels} -> {h1} -> {h2} -> {k}, "
            f"{human_bytes(self.weight_bytes)}",
            f"images       {len(self.split.training)} for training, {held}",
            f"epoch        {count(self.steps_per_epoch, 'step')} of {c.members} x {c.batch_size} pixels"
            f"{reads}",
            f"subspace     {axes}",
            f"stops        {stop}",
            f"memory       at most {human_bytes(memory.host_bytes)} of the host's, "
            f"{memory.buffer_mb} MiB of it the shuffle buffer{cached}",
            f"precision    {c.precision} in the first layer's products",
            f"disk         at most {human_bytes(self.disk_bytes)}{files}{free}",
            f"time         roughly {each} an epoch, {most} at most",
        ]
