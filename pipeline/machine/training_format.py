"""How a network that learns computes: the order in memory, and the type of its convolutions.

It knows torch's devices. It knows no networks.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from pipeline.machine.device import resolve_precision


class TrainingFormat(NamedTuple):
    """How a network computes: of images and convolutions the order in memory, and the type that
    ``torch.autocast`` takes; None for float32, without it.
    """

    memory_format: torch.memory_format
    autocast: torch.dtype | None


def training_format(device: torch.device, precision: str) -> TrainingFormat:
    """What is fastest on a device for ``auto``, or the type that is named.

    Channels last in any case. On a GPU that multiplies bfloat16 that type; on a CPU float32: AVX512-BF16 took
    longer than float32 for every layer (`benchmarks/segmenters.py`), and AMX has not been measured. Raises
    UsageError for another name.
    """
    dtype = resolve_precision(
        "float32" if precision == "auto" and device.type == "cpu" else precision, device
    )
    return TrainingFormat(torch.channels_last, None if dtype == torch.float32 else dtype)
