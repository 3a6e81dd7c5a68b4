"""The precision of a training that may go on: what has begun in one type is not ended in another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pipeline.machine.device import precision_name
from pipeline.machine.training_format import training_format
from pipeline.resumable.kind import Kind


def definite_precision(
    kind: Kind[Any], folder: Path, device: torch.device, precision: str, *, overwrite: bool
) -> str:
    """The precision by its name; ``auto``: that of an earlier part of the run, else what is fast here.

    Raises UsageError for another name.
    """
    found = None
    if precision == "auto" and not overwrite and (folder / kind.description).is_file():
        found = kind.read_description(folder)
    recorded = None if found is None else found.training.get("precision")
    return str(recorded or precision_name(training_format(device, precision).autocast or torch.float32))
