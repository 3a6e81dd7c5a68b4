"""`dgan segment test`: prepares a run, and carries it out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline.settings.schema import Config


def prepare(segmenter: Path, config: Config, *, released_filter: bool, overwrite: bool) -> Any:
    """All that the run needs, checked. Raises UsageError, one line."""
    raise NotImplementedError


def test(job: Any, device: torch.device, *, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure, write the files, and return the figures, as the JSON has them."""
    raise NotImplementedError


def table_lines(figures: dict[str, Any], out: Path) -> list[str]:
    """The figures as a table for people."""
    raise NotImplementedError
