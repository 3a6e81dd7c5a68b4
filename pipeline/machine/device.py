"""Which device a stage runs on, and on how many threads. Knows torch's devices and nothing
of stages.
"""

from __future__ import annotations

import re

import torch

from pipeline.errors import UsageError


def select_device(name: str) -> torch.device:
    """``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:i``. Raises UsageError for one that is
    not there.
    """
    if name == "auto":
        return _exact_cuda(0) if torch.cuda.is_available() else torch.device("cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UsageError(f"--device is {name!r}; expected auto, cpu, cuda or cuda:i")
    if name == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = int(name.partition(":")[2] or 0)
    if index >= count:
        raise UsageError(
            f"--device is {name!r}, but torch sees {count} CUDA devices; use --device cpu, or install a CUDA "
            "build"
        )
    return _exact_cuda(index)


def _exact_cuda(index: int) -> torch.device:
    """A GPU that computes float32 as float32, the same bits every time.

    By default its convolutions use TF32, with 10 bits of mantissa, which moves features by far more than the
    one float16 rounding that the store promises; and cuDNN may choose algorithms that add in any order, so
    that a resumed run would differ from an undisturbed one.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    return torch.device("cuda", index)


def upload(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A host tensor on ``device``, without waiting for what a GPU still has to do."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def download(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor in host memory. From a GPU the copy is only begun: wait for an event recorded after it."""
    if tensor.device.type != "cuda":
        return tensor.cpu()
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)


def set_threads(threads: int | None) -> None:
    """Bound the CPU threads of torch's operators; None leaves torch's own choice."""
    if threads is not None:
        torch.set_num_threads(threads)
