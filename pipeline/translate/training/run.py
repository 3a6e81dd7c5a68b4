"""`dgan translate train`: prepares a run, and carries it out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from pipeline.settings.schema import Config


def prepare(config: Config, *, overwrite: bool) -> Any:
    """All that the run needs, checked. Raises UsageError, one line."""
    raise NotImplementedError


def dry_run(job: Any, device: torch.device) -> list[str]:
    """The plan and what it costs, a line each."""
    raise NotImplementedError


def train(job: Any, device: torch.device, *, say: Callable[[str], None]) -> list[str]:
    """Train, or go on where an earlier run ended. Returns the lines that the command prints."""
    raise NotImplementedError
