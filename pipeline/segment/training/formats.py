"""Temporary."""

from __future__ import annotations

import torch

from pipeline.machine.device import resolve_precision
from pipeline.models.deeplab import BACKBONES
from pipeline.segment.folder import DEEPLAB


def output_stride_of(architecture: str, backbone: str, output_stride: int | None) -> int:
    if output_stride is not None or architecture != DEEPLAB or backbone not in BACKBONES:
        return output_stride or 32
    return BACKBONES[backbone].usual_stride


def training_format(device: torch.device, precision: str) -> tuple[torch.memory_format, torch.dtype | None]:
    dtype = resolve_precision(precision, device)
    return torch.channels_last, None if dtype == torch.float32 else dtype
