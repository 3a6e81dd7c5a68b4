"""`dgan segment predict`: the labels that a segmenter gives to photographs, as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def prepare(
    segmenter: Path, images: Path, out: Path, *, epoch: int | None, resolution: int | None, overwrite: bool
) -> Any:
    """All that the run needs, checked. Raises UsageError, one line."""
    raise NotImplementedError


def predict(job: Any, device: torch.device, *, say: Callable[[str], None]) -> str:
    """Write the labels, and return a line on them."""
    raise NotImplementedError
