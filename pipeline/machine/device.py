"""Chooses the device of a stage, its number of threads, and the type of its large matrix products.

It knows torch's devices. It knows no stages and no networks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipeline.errors import UsageError, count
from pipeline.settings.schema import PRECISIONS

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""By the names that are recorded."""


def select_device(name: str) -> torch.device:
    """The device for ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:i``.

    Raises UsageError for a device that is not there.
    """
    if name == "auto":
        return _exact_cuda(0) if torch.cuda.is_available() else torch.device("cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UsageError(f"--device is {name!r}; expected auto, cpu, cuda or cuda:i")
    if name == "cpu":
        return torch.device("cpu")
    num_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = int(name.partition(":")[2] or 0)
    if index >= num_devices:
        raise UsageError(
            f"--device is {name!r}, but torch sees {count(num_devices, 'CUDA device')}; use --device cpu, "
            "or install a CUDA build"
        )
    return _exact_cuda(index)


def target_device(name: str, threads: int | None) -> torch.device:
    """The device of a run, once torch has the run's number of threads. Raises UsageError."""
    set_threads(threads)
    return select_device(name)


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


@contextmanager
def settings_restored() -> Iterator[None]:
    """A block after which torch has the threads and the settings of CUDA that it had before.

    A run changes them for the whole process, in which a notebook goes on.
    """
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, products.allow_tf32, cudnn.deterministic, cudnn.benchmark
    num_threads = torch.get_num_threads()
    try:
        yield
    finally:
        cudnn.allow_tf32, products.allow_tf32, cudnn.deterministic, cudnn.benchmark = before
        torch.set_num_threads(num_threads)


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
