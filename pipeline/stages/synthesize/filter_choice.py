"""Decides by which rule a dataset is filtered, before anything is made or read for it.

It reads the file of a calibration where that is to say which share is kept. It knows what a dataset says of
itself, and none of its images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from fstore import format as fmt
from fstore.meta import SCORES_OF_LABELS
from pipeline.errors import UsageError, count, few, short
from pipeline.quality.calibration_file import Calibration, read_calibration
from pipeline.settings.values import Keep
from pipeline.stages.synthesize.job import SynthesizeJob

OR_A_FRACTION = "or give --keep a fraction, such as 0.9"


@dataclass(frozen=True)
class FilterWish:
    """What a user asks for, under the names of the settings. ``score`` None is the dataset's own."""

    keep: Keep
    score: str | None = None
    keep_per_class: bool = False
    calibration: Path = Path("calibration.json")


@dataclass(frozen=True)
class FilterChoice:
    """What a filter does: it keeps the share ``keep``, a fraction, of the least uncertain by ``score``.

    ``per_class``: and that share of the images of every class. ``calibration``: the record of the file that
    recommended ``keep``, or None.
    """

    keep: Keep
    score: str
    per_class: bool = False
    calibration: Mapping[str, Any] | None = None

    def rule(self, stored_score: str) -> fmt.FilterRule | None:
        """What a dataset records of it whose uncertainty is ``stored_score``; None of an ordinary filter."""
        if self.score == stored_score and not self.per_class and self.calibration is None:
            return None
        return fmt.FilterRule(self.score, self.per_class, self.calibration)

    def words(self) -> str:
        """Which share is kept, in a few words."""
        of_classes = " of every class" if self.per_class else ""
        by = "" if self.calibration is None else f", as {self.calibration['file']} recommends"
        return f"keep {self.keep}{of_classes}{by}"


def choose_filter(where: object, meta: fmt.DatasetMeta, wish: FilterWish) -> FilterChoice:
    """The filter of the dataset ``where`` that ``meta`` describes.

    Raises UsageError, one line: the rule needs labels and the dataset has none, or the share is ``auto`` and
    the calibration is missing, damaged, or of another generator or other classes.
    """
    score = wish.score or meta.score
    if meta.keypoints is not None and (wish.keep_per_class or score in SCORES_OF_LABELS):
        flag = "--keep-per-class" if wish.keep_per_class else f"--score {score}"
        raise UsageError(f"{where}: holds keypoints, and {flag} needs labels of classes; leave it out")
    if not wish.keep.is_auto:
        return FilterChoice(wish.keep, score, wish.keep_per_class)
    keep, record = _recommended(where, meta, wish.calibration, score)
    return FilterChoice(keep, score, wish.keep_per_class, record)


def filter_of(job: SynthesizeJob) -> FilterChoice:
    """The filter that a run sets at its end, decided at its beginning. Raises as ``choose_filter`` does."""
    config = job.config
    wish = FilterWish(config.keep, None, config.keep_per_class, config.calibration)
    return choose_filter(config.store, job.meta, wish)


def _recommended(where: object, meta: fmt.DatasetMeta, file: Path, score: str) -> tuple[Keep, dict[str, Any]]:
    """The share that a calibration recommends for ``score``, and what a dataset records of it."""
    if not file.exists():
        raise UsageError(
            f"{file}: no such file, and --keep auto keeps what it recommends; run "
            f"`dgan calibrate --store features.zarr`, {OR_A_FRACTION}"
        )
    calibration = read_calibration(file)
    _check_belongs(where, meta, file, calibration)
    keep = calibration.recommended_keep(score)
    digest = sha256(file.read_bytes()).hexdigest()
    return keep, {"file": file.name, "sha256": digest, "recommended": keep.text}


def _check_belongs(where: object, meta: fmt.DatasetMeta, file: Path, calibration: Calibration) -> None:
    """Refuse a calibration of another generator, or of other classes. Raises UsageError."""
    again = f"run `dgan calibrate` on the store that this interpreter was trained on, {OR_A_FRACTION}"
    for key in ("sha256", "key"):  # one file may hold several generators, each under a key
        found, expected = calibration.generator.get(key), meta.generator.get(key)
        if found != expected:
            raise UsageError(
                f"{file}: is of a generator with {key} {_begin(found)}, {where} of one with "
                f"{_begin(expected)}; {again}"
            )
    names = tuple(info.name for info in meta.classes)
    if calibration.classes != names:
        raise UsageError(
            f"{file}: is of {count(len(calibration.classes), 'class')} "
            f"({short(few(calibration.classes))}), {where} of {count(len(names), 'class')} "
            f"({short(few(names))}); {again}"
        )


def _begin(value: object) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) > 12 else short(value)
