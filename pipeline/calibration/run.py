"""Trains on parts of the annotated images, labels the others, and compares error with uncertainty."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.settings.schema import Config


@dataclass(frozen=True)
class CalibrationJob:
    """All that a run needs, checked."""


def prepare(config: Config, *, overwrite: bool) -> CalibrationJob:
    """Check what is given."""
    raise NotImplementedError


def dry_run(job: CalibrationJob, device: torch.device, *, memory_budget: int | None) -> list[str]:
    """What a run would do and cost."""
    raise NotImplementedError


def calibrate(
    job: CalibrationJob, device: torch.device, *, memory_budget: int | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """Measure, and write the files. Returns the calibration, as the JSON file has it."""
    raise NotImplementedError


def table_lines(found: Mapping[str, Any], out: Path) -> list[str]:
    """The calibration as a table for the terminal."""
    raise NotImplementedError
