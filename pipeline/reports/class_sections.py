"""The sections on classes: how often each is seen, and which the members take for one another.

It makes rows of figures; `pipeline.quality.frequencies` computes them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fstore.meta import ClassInfo
from pipeline.quality.frequencies import Frequencies, Shares, confused_pairs, rare_classes
from pipeline.reports.page import Section


def classes_section(found: Frequencies, classes: Sequence[ClassInfo], annotated: str | None) -> Section:
    """A row for each class. ``annotated``: the place of the annotated set, or None where there is none."""
    warnings = rare_classes(found, [entry.name for entry in classes])
    hit = {warning.id for warning in warnings}
    rows: list[dict[str, Any]] = [
        {
            "entry": entry,
            "is_rare": entry.id in hit,
            "all": _of_class(found.all, entry.id),
            "kept": None if found.kept is None else _of_class(found.kept, entry.id),
            "annotated": None if found.annotated is None else _of_class(found.annotated, entry.id),
            "ratio": _ratio(float(found.ratio[entry.id])),
        }
        for entry in classes
    ]
    return Section(
        "classes",
        "Classes",
        "classes.html.j2",
        {
            "rows": rows,
            "warnings": [warning.text for warning in warnings],
            "annotated": annotated,
            "has_kept": found.kept is not None,
            "num_annotated": 0 if found.annotated is None else found.annotated.num_images,
            "largest": max((row["all"]["pixels"] or 0 for row in rows), default=0),
        },
    )


def confusion_section(votes: np.ndarray | None, classes: Sequence[ClassInfo]) -> Section:
    """The pairs of classes that the members confuse most. ``votes``: (K, K), None where there are none."""
    pairs = [] if votes is None else confused_pairs(votes)
    rows = [
        {
            "first": classes[pair.first],
            "second": classes[pair.second],
            "votes": pair.votes,
            "share": pair.share,
        }
        for pair in pairs
    ]
    return Section(
        "confusion",
        "Confused classes",
        "confusion.html.j2",
        {
            "rows": rows,
            "has_votes": votes is not None,
            "largest": max((pair.share for pair in pairs), default=0),
        },
    )


def _of_class(shares: Shares, k: int) -> dict[str, Any]:
    pixels = float(shares.pixels[k])
    return {"pixels": None if math.isnan(pixels) else pixels, "images": int(shares.showing[k])}


def _ratio(ratio: float) -> str:
    """How many times as many pixels a class has as in the annotated set, in words."""
    if math.isnan(ratio):
        return "-"
    return "not annotated" if math.isinf(ratio) else f"{ratio:.2f} x"
