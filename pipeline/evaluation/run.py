"""Measures an interpreter against true labels, and writes the figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class EvaluationJob:
    """All that a run needs, checked."""


def prepare(
    interpreter: Path, store: str, *, annotations: Path | None, label_map: Path | None, out: Path
) -> EvaluationJob:
    """Check what is given."""
    raise NotImplementedError


def evaluate(job: EvaluationJob, device: torch.device, *, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure, and write the files. Returns the figures, as the JSON file has them."""
    raise NotImplementedError


def table_lines(figures: Mapping[str, Any], out: Path) -> list[str]:
    """The figures as a table for the terminal."""
    raise NotImplementedError
