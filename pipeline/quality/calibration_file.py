"""The file of a calibration, ``calibration.json``: what uncertainty said of error on annotated images.

`dgan calibrate` writes it, and what keeps images by it reads it. It knows JSON and the meaning of its keys.
It does not know how the figures come about (`pipeline.quality.uncertainty_figures`, `uncertainty_rule`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fstore.errors import StoreError
from fstore.meta import SCORES
from pipeline.errors import UsageError, cut, few, short
from pipeline.settings.json_values import (
    Check,
    flag,
    integer,
    items,
    mapping,
    number,
    one_of,
    optional,
    parse_object,
    record,
    text,
)
from pipeline.settings.schema import KEYPOINTS, SEGMENTATION
from pipeline.settings.values import Keep

VERSION, KIND = 1, "calibration"
MAX_BYTES = 2**28  # 100,000 images of a dozen scores take 50 MB
MEASURES = {SEGMENTATION: "miou", KEYPOINTS: "pck10"}
"""By the task: the key under which the quality of images stands, from 0 to 1."""


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
        return json.dumps(self.to_json(), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def read_calibration(path: Path) -> Calibration:
    """The calibration in a file.

    Raises UsageError, one line, for a file that cannot be read, is damaged, or is of a newer version.
    """
    try:
        num_bytes = path.stat().st_size
        if not path.is_file() or num_bytes > MAX_BYTES:
            raise UsageError(
                f"{path}: is no plain file of at most {MAX_BYTES:,} bytes; expected one that "
                "`dgan calibrate` wrote"
            )
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read ({error.strerror or short(error)}); expected a file that "
            "`dgan calibrate` wrote"
        ) from None
    try:
        return parse_calibration(parse_object(content), str(path))
    except (ValueError, StoreError) as error:
        reason = cut(" ".join(str(error).split()))
        raise UsageError(
            f"{path}: is no calibration, or is damaged ({reason}); run `dgan calibrate --overwrite`"
        ) from None


def parse_calibration(document: Mapping[str, Any], source: str) -> Calibration:
    """The inverse of ``Calibration.to_json``.

    Raises UsageError for a newer version; ValueError or StoreError, which name the key, for what is
    malformed.
    """
    version = document.get("version")
    if isinstance(version, int) and version > VERSION:
        raise UsageError(
            f"{source}: format version {short(version)} is newer than {VERSION}, the newest that this "
            "program reads; upgrade it"
        )
    if version != VERSION or document.get("kind") != KIND:
        raise ValueError(f"version is {short(version)}, kind {short(document.get('kind'))}")
    task = one_of(*MEASURES)(document.get("task"), "task")
    measure = one_of(MEASURES[task])(document.get("measure"), "measure")
    values = {key: value for key, value in document.items() if key not in ("version", "kind", "measure")}
    found: Calibration = _calibration(measure)(values, "")
    _check_consistent(found)
    return Calibration(**{**vars(found), "source": source})


def _calibration(measure: str) -> Check:
    point = record(
        lambda **point: CurvePoint(quality=point.pop(measure), **point),
        {"keep": _keep_text, "images": integer(0), measure: number, "gain": number},
    )
    uncertainty = _by_name(optional(number))
    image = record(
        lambda **image: ImageFigures(quality=image.pop(measure), **image),
        {
            "index": integer(0),
            "fold": integer(0),
            "error": number,
            measure: number,
            "uncertainty": uncertainty,
        },
    )
    score = record(
        lambda **score: ScoreFigures(spearman_quality=score.pop(f"spearman_{measure}"), **score),
        {
            "usable": flag,
            "spearman": optional(number),
            f"spearman_{measure}": optional(number),
            "mean_gain": number,
            "recommended_keep": _keep,
            "reason": text,
            "curve": items(point),
            "bins": items(record(Bin, {"images": integer(1), "uncertainty": number, "error": number})),
            "lost": items(
                record(
                    lambda **loss: ClassLoss(name=loss.pop("class"), **loss),
                    {"class": text, "images": integer(0), "dropped": integer(0)},
                )
            ),
        },
    )
    return record(
        Calibration,
        {
            "created": mapping(),
            "task": one_of(*MEASURES),
            "store": mapping(
                {"location": text, "id": text, "num_images": integer(1), "class_counts_sha256": text}
            ),
            "generator": mapping({"sha256": text}),
            "classes": items(text),
            "training": mapping(),
            "folds": integer(2),
            "rule": text,
            "recommended": record(Recommendation, {"score": one_of(*SCORES), "keep": _keep, "reason": text}),
            "scores": _by_name(score),
            "images": items(image),
        },
    )


def _check_consistent(found: Calibration) -> None:
    """Raise ValueError where a key is missing, or two contradict each other."""
    for key in ("location", "id", "num_images", "class_counts_sha256"):
        if key not in found.store:
            raise ValueError(f"store.{key} is missing")
    for name, figures in found.scores.items():
        if figures.usable and name not in SCORES:
            raise ValueError(f"scores.{short(name)} is usable, and no score of a dataset")
    chosen = found.scores.get(found.recommended.score)
    if chosen is None or chosen.recommended_keep != found.recommended.keep:
        raise ValueError("recommended does not fit scores")
    if any(image.fold >= found.folds for image in found.images):
        raise ValueError("an image's fold does not fit folds")


def _keep(value: Any, key: str) -> Keep:
    try:
        return Keep.parse(text(value, key))
    except (ValueError, ArithmeticError):
        raise ValueError(f"{key} is {short(value)}: expected a fraction over 0 and up to 1") from None


def _keep_text(value: Any, key: str) -> str:
    return _keep(value, key).text


def _by_name(check: Check) -> Check:
    """An object whose values all pass ``check``."""

    def checked(value: Any, key: str) -> dict[str, Any]:
        found = mapping()(value, key)
        return {text(name, key): check(entry, f"{key}.{cut(name)}") for name, entry in found.items()}

    return checked


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
