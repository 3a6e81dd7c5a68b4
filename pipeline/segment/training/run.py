"""`dgan segment train`: prepares a run, and carries it out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from pipeline.settings.schema import Config


@dataclass(frozen=True)
class Result:
    """What a run has to show: the lines that the command prints, and what the function returns."""

    lines: list[str]
    value: Any


def prepare(config: Config, *, overwrite: bool) -> Any:
    """All that the run needs, checked. Raises UsageError, one line."""
    raise NotImplementedError


def dry_run(job: Any, device: torch.device) -> list[str]:
    """The plan and what it costs, a line each."""
    raise NotImplementedError


def train(job: Any, device: torch.device, *, say: Callable[[str], None]) -> Result:
    """Train, or go on where an earlier run ended."""
    raise NotImplementedError
