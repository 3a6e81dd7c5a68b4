"""What a StyleGAN2's file says of it beside the weights: which variant, its clamp, its resampling filter.

It knows no file format; each loader finds these where its format has them. Every fault is a ValueError.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pipeline.checkpoints.loaders.records import text_of
from pipeline.checkpoints.loaders.tensor_table import real_number

MAX_TAPS = 64


def architecture_of(*, has_skip: bool, has_first_rgb: bool) -> str:
    """By the tensors that only one of the three has: shortcuts, or an image of the 4x4 block."""
    if has_skip:
        return "resnet"
    return "skip" if has_first_rgb else "orig"


def checked_clamp(bound: Any, name: str = "conv_clamp") -> float | None:
    """The bound of the convolutions' outputs; None where a file states none."""
    if bound is None:
        return None
    if real_number(bound, name) <= 0:
        raise ValueError(f"{name} is {text_of(bound)}, expected a number > 0")
    return float(bound)


def upscaling_filter(taps: Tensor) -> Tensor:
    """[k, k], summing to 4, of a filter [k, k] or of its factor [k], either summing to 1."""
    if taps.ndim == 1 and len(taps) <= MAX_TAPS:
        taps = taps[:, None] * taps  # [k, k]
    if taps.ndim != 2 or taps.shape[0] != taps.shape[1] or len(taps) > MAX_TAPS:
        raise ValueError(f"the resampling filter has shape {tuple(taps.shape)}, expected (k, k) or (k,)")
    return 4 * taps
