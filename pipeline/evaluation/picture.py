"""The figures as a picture: the confusion matrix and the reliability diagram, or the PCK of each keypoint.

A self-contained SVG from the JSON values alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.svg import document, line, rectangle, shade, text
from pipeline.settings.schema import KEYPOINTS

MAX_CLASSES = 40  # in the matrix: those with most pixels
LONGEST_NAME = 18  # characters of a class's name
LARGEST_CELL, SMALLEST_CELL = 30, 14
CELL_WITH_NUMBER = 22  # pixels: in smaller cells a number cannot be read
PLOT = 260  # side of the reliability diagram
MARGIN, TITLE = 24, 22
BLUE, RED = "#2b6cb0", "#e53e3e"
BAR_ROW, BAR_LENGTH = 20, 240


def picture_of(figures: Mapping[str, Any]) -> str:
    """The SVG's text."""
    return points_picture(figures) if figures["task"] == KEYPOINTS else _labels_picture(figures)


def _labels_picture(figures: Mapping[str, Any]) -> str:
    matrix, width, height = confusion_matrix(figures)
    elements = matrix
    if figures["reliability"] is not None:
        elements = [*matrix, *_diagram(figures, width + MARGIN)]
        width, height = width + 2 * MARGIN + PLOT + 40, max(height, 2 * TITLE + PLOT + 140)
    return document(width, height, "Confusion matrix and calibration", elements)


def confusion_matrix(figures: Mapping[str, Any]) -> tuple[list[str], float, float]:
    """Elements, width and height of the matrix: of each true class, the share of each label.

    ``figures`` has ``classes``, each with id, name, color, pixels and predicted_pixels, and ``confusion``.
    """
    shown = _shown_classes(figures["classes"])
    counts = np.array(figures["confusion"], np.float64)
    totals = counts.sum(1)
    cell = min(LARGEST_CELL, max(SMALLEST_CELL, 600 // max(len(shown), 1)))
    names = [_cut(figures["classes"][k]["name"]) for k in shown]
    room = 7 * max((len(name) for name in names), default=0) + 24
    left, top = MARGIN + room + 16, MARGIN + TITLE + room + 16
    side = cell * len(shown)
    elements = [
        text(
            MARGIN,
            MARGIN + 4,
            "Confusion: of the pixels of each true class, the share of each label",
            size=13,
        ),
        text(left + side / 2, MARGIN + TITLE + 4, "label", anchor="middle"),
        text(MARGIN + 4, top + side / 2, "true class", anchor="middle", turned=True),
    ]
    for place, (k, name) in enumerate(zip(shown, names, strict=True)):
        middle, color = place * cell + cell / 2, figures["classes"][k]["color"]
        elements += [
            rectangle(left - 14, top + middle - 5, 10, 10, color, stroke="#888888"),
            text(left - 18, top + middle + 4, name, anchor="end"),
            rectangle(left + middle - 5, top - 14, 10, 10, color, stroke="#888888"),
            text(left + middle + 4, top - 18, name, turned=True),
            *_row(counts[k], totals[k], shown, figures["classes"], (left, top + place * cell), cell),
        ]
    elements.append(rectangle(left, top, side, side, "none", stroke="#888888"))
    left_out = sum(1 for entry in figures["classes"] if _occurs(entry)) - len(shown)
    if left_out > 0:
        elements.append(text(left, top + side + 18, f"{left_out} classes with fewer pixels are not shown"))
    return elements, max(left + side, 420) + MARGIN, top + side + MARGIN + 12


def _row(
    counts: NDArray[np.float64],
    total: float,
    shown: Sequence[int],
    classes: Sequence[Mapping[str, Any]],
    corner: tuple[float, float],
    cell: int,
) -> list[str]:
    """The cells of one true class that are not empty; a grey row where it has no pixel."""
    (x, y), elements = corner, []
    if not total:
        return [rectangle(x, y, cell * len(shown), cell, "#eeeeee")]
    for place, k in enumerate(shown):
        share = counts[k] / total
        if share:
            tip = f"{share:.2%} labelled {classes[k]['name']}"
            elements.append(rectangle(x + place * cell, y, cell, cell, shade(share), tip=tip))
        if cell >= CELL_WITH_NUMBER and share >= 0.005:
            fill = "#ffffff" if share > 0.5 else "#222222"
            middle = x + place * cell + cell / 2
            elements.append(
                text(middle, y + cell / 2 + 4, f"{100 * share:.0f}", size=10, anchor="middle", fill=fill)
            )
    return elements


def _diagram(figures: Mapping[str, Any], x: float) -> list[str]:
    """The reliability diagram (Guo et al., ICML 2017, figure 1), and below it the share of pixels a bin."""
    left, top = x + 30, MARGIN + 2 * TITLE
    bottom, bins = top + PLOT, figures["reliability"]
    error = figures["expected_calibration_error"]
    title = f"Calibration error {error:.4f}" if error is not None else "Calibration error -"
    total = max(sum(each["pixels"] for each in bins), 1)
    elements = [text(left, MARGIN + 4, title, size=13)]
    for each in bins:
        start, width = left + PLOT * each["above"], PLOT * (each["up_to"] - each["above"])
        if each["pixels"]:
            tall = PLOT * each["accuracy"]
            said = PLOT * each["confidence"]
            tip = f"{each['accuracy']:.2%} right at a mean probability of {each['confidence']:.2%}"
            elements += [
                rectangle(start + 1, bottom - tall, width - 2, tall, BLUE, tip=tip),
                rectangle(start + 1, bottom - said - 1, width - 2, 2, RED),
            ]
        share = 50 * each["pixels"] / total
        elements.append(rectangle(start + 1, bottom + 90 - share, width - 2, share, "#888888"))
    ticks = [(part, f"{part:g}") for part in (0, 0.5, 1)]
    elements += [text(left + PLOT * part, bottom + 14, word, anchor="middle") for part, word in ticks]
    elements += [text(left - 6, bottom - PLOT * part + 4, word, anchor="end") for part, word in ticks]
    return [
        *elements,
        line(left, bottom, left + PLOT, top, dashed=True),
        rectangle(left, top, PLOT, PLOT, "none", stroke="#888888"),
        line(left, bottom + 90, left + PLOT, bottom + 90),
        text(
            left + PLOT / 2,
            bottom + 28,
            "largest mean probability; below, pixels",
            anchor="middle",
        ),
        text(left, MARGIN + TITLE + 2, "bar: share of right pixels", fill=BLUE),
        text(left + 160, MARGIN + TITLE + 2, "line: mean probability", fill=RED),
    ]


def points_picture(figures: Mapping[str, Any]) -> str:
    """A bar a keypoint: its PCK@10. ``figures`` has ``keypoints``, each with name and pck."""
    names = [_cut(entry["name"]) for entry in figures["keypoints"]]
    left, top = MARGIN + 7 * max(len(name) for name in names) + 12, MARGIN + TITLE
    elements = [text(MARGIN, MARGIN + 4, "PCK@10: keypoints within 10% of the larger side", size=13)]
    for place, (name, entry) in enumerate(zip(names, figures["keypoints"], strict=True)):
        y, share = top + place * BAR_ROW, entry["pck"]["10"]
        elements += [
            text(left - 8, y + 14, name, anchor="end"),
            rectangle(left, y + 3, BAR_LENGTH, BAR_ROW - 6, "#eeeeee"),
            rectangle(left, y + 3, BAR_LENGTH * (share or 0), BAR_ROW - 6, BLUE),
            text(left + BAR_LENGTH + 8, y + 14, "-" if share is None else f"{share:.3f}"),
        ]
    width = max(left + BAR_LENGTH + 60, 380)
    return document(width, top + BAR_ROW * len(names) + MARGIN, "PCK of each keypoint", elements)


def _shown_classes(classes: Sequence[Mapping[str, Any]]) -> list[int]:
    """The classes of the matrix, in the order of their labels."""
    there = [entry["id"] for entry in classes if _occurs(entry)]
    largest = sorted(there, key=lambda k: (-classes[k]["pixels"], k))[:MAX_CLASSES]
    return sorted(largest)


def _occurs(entry: Mapping[str, Any]) -> bool:
    return bool(entry["pixels"] or entry["predicted_pixels"])


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."
