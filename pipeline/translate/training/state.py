"""How far the training of a translator is. Its state says so, beside what is learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Progress:
    """``epochs`` are finished, and ``step`` steps of the next one.

    losses: the sums of that epoch's losses so far. row: the last finished epoch's line of the log, which may
    have been lost, without its speed, which no two runs share; empty before there is one.
    """

    epochs: int = 0
    step: int = 0
    losses: tuple[float, ...] = ()
    row: Mapping[str, Any] = field(default_factory=dict)
