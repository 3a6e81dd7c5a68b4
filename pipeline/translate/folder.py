"""The folder of a translator: the names of its files, what it says of itself, and the network that it holds.

translator/
    translator.json          what it is; written before the first step
    generators.pth           {"source_to_target": ..., "target_to_source": ...} of the last finished epoch
    log.jsonl                a line for each epoch
    curves.svg, samples/     a plot of the log, and sample sheets
    training_state.pt        only until training is finished
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Translator:
    """A trained translator. ``network`` carries images [N, 3, H, W] in [-1, 1] from source to target.

    resolution: side of the square that it has learnt on. record: what a dataset says of it: file hash,
    target, epochs and so on. is_finished: whether its training is.
    """

    path: Path
    network: nn.Module
    resolution: int
    record: Mapping[str, Any]
    is_finished: bool


def open_translator(path: Path) -> Translator:
    """The translator in a folder, its network on the CPU and in evaluation mode. Raises UsageError."""
    raise NotImplementedError
