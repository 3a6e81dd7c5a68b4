"""What a run of ``dgan calibrate`` has read and planned before it starts, and what it refuses.

It writes nothing. It knows the store, the settings and the files that are there, and no ensembles.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fstore.compare import differences
from fstore.feature_store import FeatureStore
from pipeline.calibration.begun import Begun
from pipeline.calibration.folds import assign_folds, shown_outside
from pipeline.calibration.place import check_place, picture_path
from pipeline.errors import UsageError, count, few, short
from pipeline.quality.calibration_file import read_calibration
from pipeline.quality.calibration_record import Calibration
from pipeline.settings.schema import KEYPOINTS, SEGMENTATION, Config, TrainConfig
from pipeline.stages.train.inputs import drawable, features_sha256, open_features, reading
from pipeline.stages.train.prepare import plan_train, settle
from pipeline.stages.train.validation import keypoint_array

Difference = tuple[str, Any, Any]
"""A key with dots, what is there, and what this run has."""
_UNSEMANTIC = ("store.location", "training.buffer_mb")  # they may differ from what was begun
_ELSEWHERE = ("out", "cache")  # of no effect on the figures
_OF_ANNOTATIONS = ("store.num_images", "store.class_counts_sha256", "store.features_sha256", "store.revision")


@dataclass(frozen=True)
class CalibrationJob:
    """A run that may begin.

    ``images`` (n,) are the positions in the store of the annotated images, and ``folds`` (n,) the fold of
    each. ``settings`` say what is measured, as JSON values. ``done`` is the calibration that lies there with
    these settings; nothing is to be done then. ``replaces``: whether what is there goes, because
    ``overwrite`` was given or the store was added to or corrected since. ``notes``: what people should know,
    a line each.
    """

    store: FeatureStore
    train: TrainConfig
    out: Path
    images: NDArray[np.int64]
    folds: NDArray[np.int64]
    settings: Mapping[str, Any]
    done: Calibration | None
    replaces: bool
    notes: tuple[str, ...]

    @property
    def num_folds(self) -> int:
        return int(self.folds.max()) + 1

    @property
    def task(self) -> str:
        """``segmentation`` or ``keypoints``."""
        return SEGMENTATION if self.store.meta.keypoints is None else KEYPOINTS

    @property
    def plot(self) -> Path:
        """The picture's file."""
        return picture_path(self.out)

    @property
    def begun(self) -> Begun:
        """The folder of what is done before the run has ended."""
        return Begun.beside(self.out)

    def images_of(self, fold: int) -> list[int]:
        """Positions of the images of a fold: its training excludes them, and what it learns labels them."""
        return [int(image) for image in self.images[self.folds == fold]]

    def fold_config(self, fold: int) -> TrainConfig:
        """The settings of a fold's training."""
        return replace(self.train, out=self.begun.fold_folder(fold))


def prepare(config: Config, device: torch.device, *, overwrite: bool) -> CalibrationJob:
    """Read the store's index, share out its images to folds, and compare with what is there.

    Raises UsageError for a store, a place or settings that cannot be used; StoreError for a damaged store.
    """
    out = Path(config.calibrate.out)
    check_place(out)
    _check_members(config.train.members)
    found = Found() if overwrite else _found(out)
    store = open_features(config.features.store)
    with reading(store):
        present = _present(store)
        images = np.flatnonzero(present.any(axis=1))
        num_folds = _num_folds(store, len(images), config.calibrate.folds)
        folds = assign_folds(present[images], num_folds, config.train.seed)
        names = [info.name for info in store.meta.classes]
        if store.meta.keypoints is not None:
            names = list(store.meta.keypoints.names)
        outside = shown_outside(present[images], folds)
        _check_two_classes(store, names, outside)
        train = replace(
            settle(config.train, device, found.training), buffer_mb=config.train.buffer_mb
        )  # the precision of what is there; each training remembers its own buffer
        plans = [plan_train(store, train, images[folds == fold].tolist()) for fold in range(num_folds)]
        settled = replace(train, balance=plans[0].config.balance)
        settings = _settings(store, settled, plans[0].widths, num_folds)
    notes = [
        *_few_folds(store, num_folds, config.calibrate.folds),
        *_missing_notes(names, outside),
    ]
    done, differing = found.compared(settings)
    if differing:
        notes.append(_why_anew(out, store, differing))
    replaces = overwrite or bool(differing)
    return CalibrationJob(store, train, out, images, folds, settings, done, replaces, tuple(notes))


@dataclass(frozen=True)
class Found:
    """What lies in the place of a run: a finished calibration, and the settings of one that is begun."""

    done: Calibration | None = None
    begun: Mapping[str, Any] = field(default_factory=dict)

    @property
    def training(self) -> Mapping[str, Any]:
        """The recorded settings of trainings, of what is begun before those of what is done."""
        recorded = self.begun.get("training", self.done.training if self.done else {})
        return recorded if isinstance(recorded, Mapping) else {}

    def compared(self, settings: Mapping[str, Any]) -> tuple[Calibration | None, list[Difference]]:
        """The calibration that has these settings already, or None; and how else what is there differs.

        Nothing differs where what is begun has these settings: a run goes on with it.
        """
        of_done: list[Difference] = []
        if self.done is not None:
            known = {"store": self.done.store, "training": self.done.training, "folds": self.done.folds}
            of_done = differences(known, settings, _UNSEMANTIC)
            if not of_done:
                return self.done, []
        of_begun = differences(self.begun, settings, _UNSEMANTIC) if self.begun else []
        return None, of_begun if self.begun else of_done


def _found(out: Path) -> Found:
    """What is there. A file that an interrupted run was about to replace counts no more where it is no
    calibration. Raises UsageError.
    """
    begun = Begun.beside(out).settings()
    try:
        return Found(read_calibration(out) if out.exists() else None, begun)
    except UsageError:
        if not begun:
            raise
        return Found(None, begun)


def _present(store: FeatureStore) -> NDArray[np.bool_]:
    """(n, K): whether an image shows a class, or has the keypoint labelled."""
    if store.meta.keypoints is not None:
        labelled: NDArray[np.bool_] = keypoint_array(store)[..., 2] > 0
        return labelled
    shown: NDArray[np.bool_] = (store.class_counts * drawable(store)).any(axis=(1, 2))
    return shown


def _check_members(members: int) -> None:
    """Refuse an ensemble whose uncertainty is 0 everywhere. Raises UsageError."""
    if members < 2:
        raise UsageError(
            f"[train] members is {members}; expected 2 or more: uncertainty is what members disagree on, and "
            "one alone has none to measure"
        )


def _num_folds(store: FeatureStore, num_images: int, wanted: int) -> int:
    if num_images < 2:
        raise UsageError(
            f"{store.location}: {count(num_images, 'image')} with annotations, expected at least two: one to "
            "learn from and one to measure"
        )
    return min(wanted, num_images)


def _few_folds(store: FeatureStore, num_folds: int, wanted: int) -> tuple[str, ...]:
    if num_folds == wanted:
        return ()
    images = count(num_folds, "image")
    return (f"{store.location}: {images} with annotations, so {num_folds} folds and not {wanted}",)


def _settings(
    store: FeatureStore, train: TrainConfig, widths: tuple[int, int], num_folds: int
) -> dict[str, Any]:
    """What a calibration is of: two with equal settings differ by rounding on other devices at most."""
    training = {key: value for key, value in asdict(train).items() if key not in _ELSEWHERE}
    values = {
        "store": {
            "location": str(store.location),
            "id": store.id,
            "revision": store.meta.created.get("revision", 0),
            "num_images": len(store),
            "class_counts_sha256": hashlib.sha256(store.class_counts.tobytes()).hexdigest(),
            "features_sha256": features_sha256(store),
        },
        "training": {**training, "hidden": widths},
        "folds": num_folds,
    }
    settings: dict[str, Any] = json.loads(json.dumps(values))
    return settings


def _missing_notes(names: Sequence[str], outside: NDArray[np.bool_]) -> list[str]:
    """A line on each fold that alone shows a class. ``outside`` (F, K): what the images outside each show."""
    shown = outside.any(axis=0)  # by all images, for each is outside some fold
    notes = []
    for fold, known in enumerate(outside, 1):
        missing = [names[k] for k in np.flatnonzero(shown & ~known).tolist()]
        if missing:
            notes.append(
                f"fold {fold}: no image outside it has {few(missing)}; its training cannot learn that, and "
                "its images count as wrong there"
            )
    return notes


def _check_two_classes(store: FeatureStore, names: Sequence[str], outside: NDArray[np.bool_]) -> None:
    """Refuse folds outside which one class only is shown. Raises UsageError."""
    for fold, known in enumerate(outside, 1):
        if store.meta.keypoints is None and known.sum() < 2:
            name = names[int(known.argmax())]
            raise UsageError(
                f"{store.location}: the images outside fold {fold} show {name!r} alone, "
                "expected at least two classes to learn; annotate more images, or pass more --folds"
            )


def _why_anew(out: Path, store: FeatureStore, differing: list[Difference]) -> str:
    """One line on why what is there is made anew. Raises UsageError where only --overwrite may do so."""
    others = [entry for entry in differing if entry[0] not in _OF_ANNOTATIONS]
    if others:
        key, found, asked = others[0]
        raise UsageError(
            f"{out}: was made, or begun, with {key} = {short(found)}, this run has {short(asked)}; use the "
            "same settings, another --out, or --overwrite to start anew"
        )
    return f"{out}: {store.location} was added to or corrected since; it is made anew"
