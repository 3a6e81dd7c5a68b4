"""What a run of ``dgan train`` has read and planned before it starts. It writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fstore.feature_store import FeatureStore
from pipeline.interpreter.description import InterpreterInfo
from pipeline.interpreter.files import Interpreter
from pipeline.interpreter.training_state import TrainingState
from pipeline.stages.train.memory import MemoryPlan
from pipeline.stages.train.plan import TrainPlan


@dataclass(frozen=True)
class TrainJob:
    """A run that may begin. Nothing is written yet.

    ``info`` is what the interpreter is before its first epoch. ``memory`` is None where the folder holds a
    finished ``interpreter`` of these settings: nothing is to be done. ``state`` is where an unfinished run of
    these settings was, or None. ``average_latent`` is (D,) or (L, D) float32, or None where the store has
    none.
    """

    store: FeatureStore
    plan: TrainPlan
    info: InterpreterInfo
    memory: MemoryPlan | None
    interpreter: Interpreter | None
    state: TrainingState | None
    average_latent: np.ndarray | None
    replaces: InterpreterInfo | None = None
    """What was trained, or half trained, on the store before it was added to or corrected."""

    @property
    def folder(self) -> Path:
        """Where the interpreter goes."""
        return Path(self.plan.config.out)
