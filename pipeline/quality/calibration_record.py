"""What a calibration says: the figures of each score and each annotated image, and what is recommended.

Pure values, to JSON. `pipeline.quality.calibration_file` reads them back. How the figures come about stands
in `pipeline.quality.uncertainty_figures` and `uncertainty_rule`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import UsageError, few, short
from pipeline.settings.json_values import json_text
from pipeline.settings.schema import KEYPOINTS, SEGMENTATION
from pipeline.settings.values import Keep

VERSION, KIND = 1, "calibration"
MEASURES = {SEGMENTATION: "miou", KEYPOINTS: "pck10"}
"""By the task: the key under which the quality of images stands, from 0 to 1."""
MANY_IMAGES = 100  # from here on the curve has a point for every hundredth


def curve_shares(num_images: int) -> tuple[str, ...]:
    """The shares of every score's curve, as decimal text, from 0.5 to 1: each twentieth, of 100 images and
    more each hundredth.
    """
    step = 1 if num_images >= MANY_IMAGES else 5
    return (*(f"{percent / 100:g}" for percent in range(50, 100, step)), "1")


@dataclass(frozen=True)
class CurvePoint:
    """What is left where the share ``keep`` is kept, the least uncertain ones: so many ``images``.

    ``quality`` is their mIoU, pooled over them, or PCK@10. ``gain`` is by how much it is above that of all
    images, over the classes that the kept ones still show.
    """

    keep: str
    images: int
    quality: float
    gain: float


@dataclass(frozen=True)
class Bin:
    """The mean ``uncertainty`` and the mean ``error`` of ``images`` images of neighbouring uncertainty."""

    images: int
    uncertainty: float
    error: float


@dataclass(frozen=True)
class ClassLoss:
    """Of the ``images`` that truly show a class, so many are ``dropped`` at the recommended keep."""

    name: str
    images: int
    dropped: int


@dataclass(frozen=True)
class ScoreFigures:
    """What one score says of error. ``usable``: it may be a ``--score``.

    ``spearman``: its rank correlation with the images' error; ``spearman_quality``: with one minus their mIoU
    or PCK; None where either is constant. ``mean_gain``, the figure of merit, is the mean of the gains of
    ``curve`` below 1.
    ``reason`` says in one sentence why ``recommended_keep`` is what it is.
    """

    usable: bool
    spearman: float | None
    spearman_quality: float | None
    mean_gain: float
    recommended_keep: Keep
    reason: str
    curve: tuple[CurvePoint, ...]
    bins: tuple[Bin, ...]
    lost: tuple[ClassLoss, ...]


@dataclass(frozen=True)
class ImageFigures:
    """One annotated image, labelled by members that have not seen it: its position in the store, its fold.

    ``error`` is the share of wrong pixels (1 - PCK@10 of keypoints). ``uncertainty`` by the score's name is
    None where it is not finite.
    """

    index: int
    fold: int
    error: float
    quality: float
    uncertainty: Mapping[str, float | None]


@dataclass(frozen=True)
class Recommendation:
    """The score and the share to keep by it, and one sentence on why."""

    score: str
    keep: Keep
    reason: str


@dataclass(frozen=True)
class Calibration:
    """All that the file holds. ``store``, ``generator`` and ``training`` say of what it is.

    ``source`` is the file's name, for messages.
    """

    created: Mapping[str, Any]
    task: str
    store: Mapping[str, Any]
    generator: Mapping[str, Any]
    classes: tuple[str, ...]
    training: Mapping[str, Any]
    folds: int
    rule: str
    scores: Mapping[str, ScoreFigures]
    images: tuple[ImageFigures, ...]
    recommended: Recommendation
    source: str = field(default="the calibration", compare=False)

    def recommended_keep(self, score: str) -> Keep:
        """The share to keep by ``score``. Raises UsageError for a score that is not in it, or none of a
        dataset.
        """
        found = self.scores.get(score)
        if found is None or not found.usable:
            known = few([name for name, figures in self.scores.items() if figures.usable], 8)
            raise UsageError(
                f"{self.source}: says nothing of the score {short(score)}, but of {known}; run "
                "`dgan calibrate` again, or give --keep a number"
            )
        return found.recommended_keep

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        measure = MEASURES[self.task]
        return {
            "version": VERSION,
            "kind": KIND,
            "created": dict(self.created),
            "task": self.task,
            "measure": measure,
            "store": dict(self.store),
            "generator": dict(self.generator),
            "classes": list(self.classes),
            "training": dict(self.training),
            "folds": self.folds,
            "rule": self.rule,
            "recommended": {**vars(self.recommended), "keep": self.recommended.keep.text},
            "scores": {name: _score_json(figures, measure) for name, figures in self.scores.items()},
            "images": [_image_json(image, measure) for image in self.images],
        }

    def to_text(self) -> str:
        """The file's text."""
        return json_text(self.to_json(), 1)


def _score_json(figures: ScoreFigures, measure: str) -> dict[str, Any]:
    return {
        "usable": figures.usable,
        "spearman": figures.spearman,
        f"spearman_{measure}": figures.spearman_quality,
        "mean_gain": figures.mean_gain,
        "recommended_keep": figures.recommended_keep.text,
        "reason": figures.reason,
        "curve": [
            {"keep": point.keep, "images": point.images, measure: point.quality, "gain": point.gain}
            for point in figures.curve
        ],
        "bins": [vars(entry) for entry in figures.bins],
        "lost": [
            {"class": loss.name, "images": loss.images, "dropped": loss.dropped} for loss in figures.lost
        ],
    }


def _image_json(image: ImageFigures, measure: str) -> dict[str, Any]:
    return {
        "index": image.index,
        "fold": image.fold,
        "error": image.error,
        measure: image.quality,
        "uncertainty": dict(image.uncertainty),
    }
