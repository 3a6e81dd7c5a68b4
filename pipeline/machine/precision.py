"""Which floating-point type the large matrix products run in. Knows torch's devices, and no networks."""

from __future__ import annotations

import torch

from pipeline.errors import UsageError
from pipeline.settings.schema import PRECISIONS

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""By the names that are recorded."""


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """float32 or bfloat16 for ``auto`` (bfloat16 where the hardware multiplies it), or the type named.

    bfloat16 without hardware for it is slower and computes the same, so it may be asked for by name.
    Raises UsageError for another name.
    """
    if name not in PRECISIONS:
        raise UsageError(f"--precision is {name!r}; expected {', '.join(PRECISIONS)}")
    if name == "auto":
        return torch.bfloat16 if _multiplies_bfloat16(device) else torch.float32
    return TYPES[name]


def precision_name(precision: torch.dtype) -> str:
    """``float32`` or ``bfloat16``: what `resolve_precision` takes, and what is recorded."""
    return next(name for name, dtype in TYPES.items() if dtype == precision)


def _multiplies_bfloat16(device: torch.device) -> bool:
    """Tensor cores of compute capability 8 or later, AVX512-BF16 or AMX; emulation does not count."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type != "cpu":
        return False
    # Functions of torch.cpu without a public name; a torch that lacks them gets float32.
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, probe, bool)()) for probe in probes)
