"""Which device a stage runs on, how many threads, and what its memory is. Knows torch's devices and nothing
of stages.
"""

from __future__ import annotations

import os
import re

import torch

from pipeline.errors import UsageError


def select_device(name: str) -> torch.device:
    """``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:i``. Raises UsageError for one that is
    not there.
    """
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
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
    return torch.device("cuda", index)


def set_threads(threads: int | None) -> None:
    """Bound the CPU threads of torch's operators; None leaves torch's own choice."""
    if threads is not None:
        torch.set_num_threads(threads)


def free_device_bytes(device: torch.device) -> int:
    """Bytes free on the device: of a GPU its own memory, of the CPU what the system says is available."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return available_host_bytes()


def available_host_bytes() -> int:
    """Bytes of RAM available for a new program, by Linux's own estimate; elsewhere, all of RAM."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
