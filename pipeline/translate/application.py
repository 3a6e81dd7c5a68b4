"""`dgan translate apply`: a dataset with translated images and the same labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def prepare(translator: Path, data: str, store: str, *, overwrite: bool) -> Any:
    """All that the run needs, checked. Raises UsageError, one line."""
    raise NotImplementedError


def dry_run(job: Any, device: torch.device) -> list[str]:
    """The plan and what it costs, a line each."""
    raise NotImplementedError


def translate(job: Any, device: torch.device, *, say: Callable[[str], None]) -> str:
    """Translate what is not translated yet, and return a line on the dataset."""
    raise NotImplementedError
