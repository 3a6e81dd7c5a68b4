"""All that a run of ``dgan evaluate`` needs, read and checked: whose labels, of which images, and the truth.

It reads no features and measures nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fstore.dataset import Dataset
from fstore.feature_store import FeatureStore
from fstore.meta import FeatureMeta
from pipeline.interpreter.description import InterpreterInfo
from pipeline.interpreter.files import load_interpreter
from pipeline.interpreter.folder import check_place
from pipeline.interpreter.released import is_released, read_members
from pipeline.models.interpreter import InterpreterEnsemble


@dataclass(frozen=True)
class Judged:
    """The interpreter that is measured. ``info`` is None for a release's members, which have none."""

    folder: Path
    ensemble: InterpreterEnsemble
    sha256: str
    info: InterpreterInfo | None


@dataclass(frozen=True)
class Truth:
    """What is true of some images of a dataset.

    places: (n,) their positions in the dataset. masks: (n, H, W) labels by the dataset's classes, -1 where
    the annotation has none; None for keypoints. points: (n, K, 3) x, y in pixels, and 1 where the point is
    labelled; None for masks. record: what the figures say of the annotations.
    """

    places: NDArray[np.int64]
    record: Mapping[str, Any]
    masks: NDArray[np.int32] | None = None
    points: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class EvaluationJob:
    """All that a run needs, checked. ``truth`` is None where it is the store's own.

    has_learnt: whether the interpreter was trained on these images. notes: what a user should know, a line
    each.
    """

    judged: Judged
    store: FeatureStore | Dataset
    out: Path
    truth: Truth | None = None
    has_learnt: bool = False
    notes: Sequence[str] = ()

    @property
    def num_images(self) -> int:
        """How many images are compared."""
        return len(self.store) if self.truth is None else len(self.truth.places)

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) of the images."""
        meta = self.store.meta
        return (meta.height, meta.width) if isinstance(meta, FeatureMeta) else meta.shape


def load_judged(folder: Path) -> Judged:
    """The interpreter in a folder, or a release's members. Raises UsageError, one line, for anything else."""
    check_place(folder)
    if is_released(folder):
        members = read_members(folder)
        return Judged(folder, members.ensemble, members.sha256, None)
    found = load_interpreter(folder)
    return Judged(folder, found.ensemble, found.sha256, found.info)
