"""Reads the file of a calibration, ``calibration.json``, which `dgan calibrate` writes.

What keeps images by it needs no more than this. It knows JSON and its faults; what the values mean stands in
`pipeline.quality.calibration_record`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fstore.errors import StoreError
from fstore.meta import SCORES
from fstore.values import keep_fraction
from pipeline.errors import UsageError, cut, short
from pipeline.quality.calibration_record import (
    KIND,
    MEASURES,
    VERSION,
    Bin,
    Calibration,
    ClassLoss,
    CurvePoint,
    ImageFigures,
    Recommendation,
    ScoreFigures,
    curve_shares,
)
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
from pipeline.settings.values import Keep

MAX_BYTES = 2**28  # 100,000 images of a dozen scores take 50 MB


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
    num_images, stored = len(found.images), found.store["num_images"]
    if not 2 <= num_images <= stored:
        raise ValueError(f"images has {num_images}: expected 2 or more, of the store's {stored}")
    if len({image.index for image in found.images}) != num_images:
        raise ValueError("images has an index twice")
    for name, figures in found.scores.items():
        if figures.usable and name not in SCORES:
            raise ValueError(f"scores.{short(name)} is usable, and no score of a dataset")
        _check_figures(f"scores.{cut(name)}", figures, found)
    chosen = found.scores.get(found.recommended.score)
    if chosen is None or not chosen.usable or chosen.recommended_keep != found.recommended.keep:
        raise ValueError("recommended does not fit scores")
    if any(image.fold >= found.folds for image in found.images):
        raise ValueError("an image's fold does not fit folds")
    if any(image.uncertainty.keys() != found.scores.keys() for image in found.images):
        raise ValueError("an image's uncertainty does not fit scores")


def _check_figures(key: str, figures: ScoreFigures, found: Calibration) -> None:
    """Raise ValueError where the figures of a score, under ``key``, do not fit the images and the classes."""
    num_images = len(found.images)
    if tuple(point.keep for point in figures.curve) != curve_shares(num_images):
        raise ValueError(f"{key}.curve has other shares than one of {num_images} images")
    if tuple(loss.name for loss in figures.lost) != found.classes:
        raise ValueError(f"{key}.lost does not fit classes")
    if any(loss.dropped > loss.images for loss in figures.lost):
        raise ValueError(f"{key}.lost drops more images than there are")
    counts = [
        *(point.images for point in figures.curve),
        sum(entry.images for entry in figures.bins),
        *(loss.images for loss in figures.lost),
    ]
    if max(counts) > num_images:
        raise ValueError(f"{key} has {max(counts)} images, and images has {num_images}")


def _keep(value: Any, key: str) -> Keep:
    """A share as decimal text, and no other word that `Keep` may take."""
    try:
        keep_fraction(value)
    except StoreError:
        raise ValueError(f"{key} is {short(value)}: expected text of a fraction, such as '0.9'") from None
    return Keep.parse(value)


def _keep_text(value: Any, key: str) -> str:
    return _keep(value, key).text


def _by_name(check: Check) -> Check:
    """An object whose values all pass ``check``."""

    def checked(value: Any, key: str) -> dict[str, Any]:
        found = mapping()(value, key)
        return {text(name, key): check(entry, f"{key}.{cut(name)}") for name, entry in found.items()}

    return checked
