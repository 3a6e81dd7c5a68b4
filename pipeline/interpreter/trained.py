"""A trained interpreter as a notebook shows it: where it lies, what it reached, and the ensemble itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.interpreter.description import EpochMetrics, InterpreterInfo
from pipeline.interpreter.files import Interpreter
from pipeline.interpreter.summary import finished_lines
from pipeline.models.interpreter import InterpreterEnsemble


@dataclass(frozen=True, repr=False)
class TrainedInterpreter:
    """What `pipeline.train` returns. It shows itself as `dgan info` does.

    ``folder`` is what ``interpreter=`` of `pipeline.synthesize` takes. ``interpreter`` has the ensemble, on
    the device of the training, and the average latent.
    """

    folder: Path
    interpreter: Interpreter = field(compare=False)

    @property
    def info(self) -> InterpreterInfo:
        """All that ``interpreter.json`` says: classes, layers, settings of the training, its epochs."""
        return self.interpreter.info

    @property
    def ensemble(self) -> InterpreterEnsemble:
        """The members, in evaluation mode: a torch module."""
        return self.interpreter.ensemble

    @property
    def members(self) -> int:
        """How many classifiers vote."""
        return self.info.members

    @property
    def epochs(self) -> tuple[EpochMetrics, ...]:
        """What each epoch reached."""
        return self.info.epochs

    @property
    def best(self) -> EpochMetrics:
        """The epoch whose weights were the best on the held-out images; without these, the last."""
        return self.info.epochs[self.info.best_epoch or 0]

    @property
    def miou(self) -> float | None:
        """The mIoU of the best epoch on pixels of held-out images; None without any, and for keypoints."""
        return self.best.miou

    def __repr__(self) -> str:
        return "\n".join(finished_lines(self.folder, self.info))
