"""Draws the log of a translator's training as one SVG that needs nothing else: losses, feedback of the
discriminators and, of pairs, errors, by epoch.

It knows the rows of the log, and no files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.calibration.plot import COLORS, Panel
from pipeline.evaluation.svg import document, text
from pipeline.quality.axis_ticks import linear_ticks
from pipeline.translate.folder import BACKWARD, FORWARD

WIDTH, HEIGHT, TOP = 250, 200, 40
BETWEEN, LEFT = 100, 75
LEGEND_ROW = 18
_STYLE = (
    "<style>text{font-size:12px}.title{font-weight:bold}.middle{text-anchor:middle}.end{text-anchor:end}"
    ".frame{fill:none;stroke:#888}.grid{stroke:#ddd;fill:none}.line{fill:none;stroke-width:2}</style>"
)
_DIRECTIONS = {FORWARD: "source to target", BACKWARD: "target to source"}
_PARTS = {"training": False, "validation": True}  # whether its line is dashed
_PATHS = {
    "feedback": "feedback of the discriminators",
    "l2": "L2 to the partner",
    "pixel_error": "pixel error",
}
_UNITS = {"feedback": "0 made, 1 real", "l2": "of values in [0, 1]", "pixel_error": "grey levels of 255"}
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """A curve: (epoch, value) where there is a finite value."""

    name: str
    color: str
    dashed: bool
    points: tuple[tuple[float, float], ...]


def curves_svg(rows: Sequence[Row]) -> str:
    """The picture's text, of the rows of a log: a panel a subject that has values."""
    subjects = [("losses", "unweighted", _losses(rows))]
    subjects += [(title, _UNITS[key], _figures(rows, key)) for key, title in _PATHS.items()]
    shown = [(title, unit, lines) for title, unit, lines in subjects if any(line.points for line in lines)]
    last = max((float(row["epoch"]) for row in rows), default=1.0)
    parts, longest = [_STYLE], 0
    for place, (title, unit, lines) in enumerate(shown):
        panel = Panel(
            LEFT + place * (WIDTH + BETWEEN),
            TOP,
            WIDTH,
            HEIGHT,
            linear_ticks([0.0, last]),
            linear_ticks([0.0, *(y for line in lines for _, y in line.points)]),
        )
        parts += panel.axes(title, "epoch", unit)
        for number, line in enumerate(lines):
            parts += _drawn(panel, line, number)
        longest = max(longest, len(lines))
    width = LEFT + len(shown) * (WIDTH + BETWEEN) - BETWEEN + 25
    return document(width, TOP + HEIGHT + 70 + longest * LEGEND_ROW, "training of a translator", parts)


def _losses(rows: Sequence[Row]) -> list[Line]:
    names = ("adversary", "cycle", "identity", "discriminators")
    lines = [
        Line(name, color, False, _points(rows, ("losses", name)))
        for name, color in zip(names, COLORS, strict=False)
    ]
    return [line for line in lines if line.points]


def _figures(rows: Sequence[Row], key: str) -> list[Line]:
    paths = [((direction, key), name) for direction, name in _DIRECTIONS.items()]
    if key == "feedback":
        paths += [(("real", side), f"real {side}") for side in ("target", "source")]
    lines = [
        Line(f"{name}, {part}", color, dashed, _points(rows, (part, *path)))
        for (path, name), color in zip(paths, COLORS, strict=False)
        for part, dashed in _PARTS.items()
    ]
    return [line for line in lines if line.points]


def _points(rows: Sequence[Row], path: Sequence[str]) -> tuple[tuple[float, float], ...]:
    """(epoch, value) of the rows that have a finite number at this path of keys."""
    found = []
    for row in rows:
        value: Any = row
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, (int, float)) and math.isfinite(value):
            found.append((float(row["epoch"]), float(value)))
    return tuple(found)


def _drawn(panel: Panel, line: Line, number: int) -> list[str]:
    """The curve, and its name below the panel."""
    dashes = " stroke-dasharray='5 4'" if line.dashed else ""
    stroke = f"class='line' stroke='{line.color}'{dashes}"
    places = [panel.place(*point) for point in line.points]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    y = panel.top + panel.height + 62 + number * LEGEND_ROW
    drawn = [f"<polyline points='{points}' {stroke}/>"]
    if len(places) == 1:
        drawn = [f"<circle cx='{places[0][0]:.1f}' cy='{places[0][1]:.1f}' r='3' fill='{line.color}'/>"]
    return [*drawn, f"<path d='M{panel.left} {y - 4}h18' {stroke}/>", text(panel.left + 26, y, line.name)]
