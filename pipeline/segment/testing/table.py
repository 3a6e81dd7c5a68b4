"""The scores as aligned tables for the terminal, from the JSON values alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fstore.values import printable
from pipeline.errors import count
from pipeline.evaluation.table import aligned, share_text
from pipeline.settings.schema import KEYPOINTS


def table_of(scores: Mapping[str, Any]) -> list[str]:
    """Lines: what was tested, a row a class or keypoint, a row a fold."""
    is_points = scores["task"] == KEYPOINTS
    folds = (_point_folds if is_points else _label_folds)(scores) if scores["folds"] else []
    return [
        _title(scores),
        "",
        *(_points if is_points else _classes)(scores),
        *(["", *folds] if folds else []),
        *(_released(scores) if not is_points else []),
    ]


def _title(scores: Mapping[str, Any]) -> str:
    height, width = scores["image_size"]
    annotations = scores["annotations"]
    folds = scores["cross_validate"]
    how = f"cross-validated in {folds} folds" if folds else f"epoch {scores['epoch']}"
    return (
        f"{scores['segmenter']['folder']} on {annotations['images']} against {annotations['annotations']}: "
        f"{count(scores['images'], 'picture')} of {height} x {width}, {how}"
    )


def _classes(scores: Mapping[str, Any]) -> list[str]:
    with_folds = bool(scores["folds"])
    titles = ("class", "IoU", *(("+-",) if with_folds else ()), "pixels of truth")
    rows = [
        _with_deviation(printable(e["name"]), e, "iou", with_folds, f"{e['pixels']:,}")
        for e in scores["classes"]
    ]
    total = f"{sum(e['pixels'] for e in scores['classes']):,}"
    return aligned([titles, *rows, _with_deviation("mean", scores, "miou", with_folds, total)])


def _with_deviation(
    name: str, entry: Mapping[str, Any], key: str, with_folds: bool, *more: str
) -> tuple[str, ...]:
    deviation = (share_text(entry[f"{key}_deviation"]),) if with_folds else ()
    return (name, share_text(entry[key]), *deviation, *more)


def _label_folds(scores: Mapping[str, Any]) -> list[str]:
    titles = ("fold", "epoch", "validation mIoU", "mIoU", "pixel accuracy")
    rows = [
        (
            str(place),
            str(fold["epoch"]),
            share_text(fold["validation_miou"]),
            share_text(fold["miou"]),
            share_text(fold["pixel_accuracy"]),
        )
        for place, fold in enumerate(scores["folds"])
    ]
    return aligned([titles, *rows])


def _released(scores: Mapping[str, Any]) -> list[str]:
    deviation = scores["released_miou_deviation"]
    more = "" if deviation is None else f" +- {share_text(deviation)}"
    return [
        "",
        f"mIoU as the released code has it, where a class that occurs nowhere is 0: "
        f"{share_text(scores['released_miou'])}{more}",
    ]


def _points(scores: Mapping[str, Any]) -> list[str]:
    percents = list(scores["pck"])

    def row(name: str, entry: Mapping[str, Any]) -> tuple[str, ...]:
        cells = []
        for percent in percents:
            deviation = entry["pck_deviation"][percent]
            more = "" if deviation is None else f" +- {share_text(deviation)}"
            cells.append(share_text(entry["pck"][percent]) + more)
        return (printable(name), *cells, f"{entry['labelled']:,}")

    titles = ("keypoint", *(f"PCK@{percent}" for percent in percents), "labelled")
    return aligned([titles, *(row(e["name"], e) for e in scores["keypoints"]), row("all", scores)])


def _point_folds(scores: Mapping[str, Any]) -> list[str]:
    percents = list(scores["pck"])
    titles = ("fold", "epoch", "validation PCK@10", *(f"PCK@{percent}" for percent in percents))
    rows = [
        (
            str(place),
            str(fold["epoch"]),
            share_text(fold["validation_pck"]),
            *(share_text(fold["pck"][percent]) for percent in percents),
        )
        for place, fold in enumerate(scores["folds"])
    ]
    return aligned([titles, *rows])
