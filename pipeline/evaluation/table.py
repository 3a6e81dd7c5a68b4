"""The figures as an aligned table for the terminal, from the JSON values alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fstore.values import printable
from pipeline.errors import count
from pipeline.settings.schema import KEYPOINTS

NONE = "-"


def table_of(figures: Mapping[str, Any]) -> list[str]:
    """Lines: what was compared, a row a class or keypoint, then the figures over all."""
    return _points_table(figures) if figures["task"] == KEYPOINTS else _labels_table(figures)


def _labels_table(figures: Mapping[str, Any]) -> list[str]:
    rows = [
        (
            printable(entry["name"]),
            share_text(entry["iou"]),
            share_text(entry["boundary_iou"]),
            f"{entry['pixels']:,}",
        )
        for entry in figures["classes"]
    ]
    pixels = f"{figures['pixels']:,}"
    mean = ("mean", share_text(figures["miou"]), share_text(figures["boundary_miou"]), pixels)
    definitions = figures["definitions"]
    rim = definitions["boundary_iou"]
    width = count(rim["distance_pixels"], "pixel")
    part = f"{100 * rim['part_of_diagonal']:g}% of the diagonal"
    facts = [
        ("pixel accuracy", share_text(figures["pixel_accuracy"]), _ignored(figures)),
        ("calibration error", *_calibration(figures)),
        ("boundary IoU", "", f"of pixels at most {width} from a boundary, {part}"),
        *_filter(figures),
    ]
    titles = ("class", "IoU", "boundary IoU", "pixels of truth")
    return [_title(figures), "", *aligned([titles, *rows, mean]), "", *_facts(facts)]


def _points_table(figures: Mapping[str, Any]) -> list[str]:
    percents = list(figures["pck"])

    def row(name: str, entry: Mapping[str, Any]) -> tuple[str, ...]:
        shares = [share_text(entry["pck"][percent]) for percent in percents]
        return (printable(name), *shares, _distance(entry["mean_distance_pixels"]), f"{entry['labelled']:,}")

    titles = ("keypoint", *(f"PCK@{percent}" for percent in percents), "pixels away", "labelled")
    rows = [row(entry["name"], entry) for entry in figures["keypoints"]]
    parts = [(part, figures["filter"][part]) for part in ("kept", "dropped") if figures["filter"]]
    kept = [
        (
            f"all, {name}",
            *(share_text(part["pck"][percent]) for percent in percents),
            "",
            count(part["images"], "image"),
        )
        for name, part in parts
    ]
    return [_title(figures), "", *aligned([titles, *rows, row("all", figures), *kept])]


def _title(figures: Mapping[str, Any]) -> str:
    height, width = figures["image_size"]
    against = f" against {figures['annotations']['location']}" if figures["annotations"] else ""
    return (
        f"{figures['interpreter']['folder']} on {figures['store']['location']}{against}: "
        f"{count(figures['images'], 'image')} of {height} x {width}"
    )


def _ignored(figures: Mapping[str, Any]) -> str:
    ignored = figures["ignored_pixels"]
    return f"{count(ignored, 'pixel')} without a true label left out" if ignored else ""


def _calibration(figures: Mapping[str, Any]) -> tuple[str, str]:
    definition = figures["definitions"]["expected_calibration_error"]
    if definition is None:
        return NONE, "a dataset stores no probabilities"
    unsure = figures["pixels_without_probability"]
    more = f", {count(unsure, 'pixel')} whose probability is not finite left out" if unsure else ""
    return share_text(
        figures["expected_calibration_error"]
    ), f"of the mean probability, {definition['bins']} bins{more}"


def _filter(figures: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    found = figures["filter"]
    if found is None:
        return []
    return [
        (f"mIoU, {part}", share_text(found[part]["miou"]), f"{count(found[part]['images'], 'image')} {said}")
        for part, said in (("kept", f"that --keep {found['keep']} keeps"), ("dropped", "that it drops"))
    ]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column to the left, the others to the right, two spaces between them."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows
    ]


def _facts(facts: Sequence[tuple[str, str, str]]) -> list[str]:
    widths = [max(len(fact[column]) for fact in facts) for column in range(2)]
    return [
        f"{name.ljust(widths[0])}  {value.rjust(widths[1])}  {more}".rstrip() for name, value, more in facts
    ]


def share_text(value: float | None) -> str:
    """A share with four decimals."""
    return NONE if value is None else f"{value:.4f}"


def _distance(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"
