"""How far the training of a segmenter is. Its state says so, beside what is learnt."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """``step`` counts the steps of the epoch ``epoch`` that are taken; ``loss`` is the sum of theirs, and
    ``line_loss`` that of the ``line_steps`` since the last line of the log.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    line_loss: float = 0.0
    line_steps: int = 0
