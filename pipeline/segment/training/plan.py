"""What the training of a segmenter takes, in numbers and in lines for people. It makes no network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from fstore.display import human_bytes
from pipeline.errors import count
from pipeline.segment.description import SegmenterInfo
from pipeline.segment.networks import build_network
from pipeline.segment.training.batches import BatchPlan
from pipeline.settings.schema import SegmentConfig

FLOAT_BYTES = 4
OVERHEAD_BYTES = 2**21  # of a file of weights: names, and the padding of each tensor


@dataclass(frozen=True)
class TrainPlan:
    """The run in numbers. ``num_parameters`` learn; the network's tensors take ``weight_bytes``."""

    info: SegmenterInfo
    options: SegmentConfig
    num_images: int
    num_steps: int
    num_parameters: int
    weight_bytes: int

    @property
    def checkpoint_bytes(self) -> int:
        """Of an epoch's file, at most."""
        return self.weight_bytes + OVERHEAD_BYTES

    @property
    def state_bytes(self) -> int:
        """Of the state of unfinished training, at most: weights and two moments of each."""
        return self.weight_bytes + 2 * FLOAT_BYTES * self.num_parameters + 3 * OVERHEAD_BYTES

    @property
    def disk_bytes(self) -> int:
        """On disk at most: all checkpoints, and a state beside its successor."""
        return self.info.epochs * self.checkpoint_bytes + 2 * self.state_bytes

    @property
    def memory_bytes(self) -> int:
        """In memory of the device: weights, gradients, two moments. What a batch takes comes on top."""
        return self.weight_bytes + 3 * FLOAT_BYTES * self.num_parameters

    def lines(self, free_bytes: int | None) -> list[str]:
        """The plan for people, a line a subject."""
        info, options = self.info, self.options
        kind = "class" if info.keypoints is None else "keypoint"
        stride = "" if info.output_stride is None else f", output stride {info.output_stride}"
        left_out = self.num_images - self.num_steps * options.batch_size
        left = f"; {count(left_out, 'image')} of each order left out" if left_out else ""
        free = "" if free_bytes is None else f"; {human_bytes(free_bytes)} free"
        return [
            f"images     {_counted(info.data)}; {info.image_size[0]} x {info.image_size[1]} pixels",
            f"network    {info.architecture} on {info.backbone}{stride}, "
            f"{count(info.num_outputs, kind)}, {self.num_parameters:,} parameters",
            f"epoch      {count(self.num_steps, 'step')} of {options.batch_size} images{left}",
            f"training   {count(info.epochs, 'epoch')}, {count(info.epochs * self.num_steps, 'step')}; Adam "
            f"{options.learning_rate:g}, {options.precision}",
            f"changes    {self._changes()}",
            f"memory     {human_bytes(self.memory_bytes)} of weights, gradients and moments, and what a "
            "batch takes in the network",
            f"disk       {count(info.epochs, 'checkpoint')} of {human_bytes(self.weight_bytes)}, and up to "
            f"two states of {human_bytes(self.state_bytes)} while it trains{free}",
        ]

    def _changes(self) -> str:
        options = self.options
        crop = None if options.crop is None else f"crops of a side from {options.crop:g}"
        color = None if options.color is None else f"colours by up to {options.color:g}"
        parts = ["mirrored, every other image" if options.flip else None, crop, color]
        return ", ".join(part for part in parts if part) or "none"


def measure(info: SegmenterInfo, options: SegmentConfig, batches: BatchPlan) -> TrainPlan:
    """The plan of a run. Raises UsageError, one line, for a network that there is none of."""
    with torch.device("meta"):
        network = build_network(info.architecture, info.backbone, info.output_stride, info.num_outputs)
    tensors = network.state_dict().values()
    return TrainPlan(
        info,
        options,
        len(batches.images),
        batches.num_steps,
        sum(parameter.numel() for parameter in network.parameters()),
        sum(tensor.numel() * tensor.element_size() for tensor in tensors),
    )


def _counted(data: Any) -> str:
    """How many images of which source."""
    parts = []
    for name, record in data.items():
        of = f" of {record['store']}" if "store" in record else ""
        by = f" by its {record['chosen_by']}" if "chosen_by" in record else ""
        parts.append(f"{record['num_images']:,} {name}{of}{by}")
    return ", ".join(parts)
