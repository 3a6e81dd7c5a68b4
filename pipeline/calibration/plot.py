"""Draws a calibration as one SVG that needs nothing else: on the left the quality of the kept images against
the share kept, a line a score; on the right the error of each image against its uncertainty.

It knows the figures, and no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from pipeline.quality.axis_ticks import linear_ticks, linear_words
from pipeline.quality.calibration_record import MEASURES, Calibration
from pipeline.quality.uncertainty_candidates import TRUE_ERROR

MEASURE_NAMES = {"miou": "mIoU", "pck10": "PCK@10"}
# Okabe and Ito's colours, which people with any colour vision tell apart.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
WIDTH, HEIGHT = 860, 365
MOST_NUMBERS = 6  # below a panel


@dataclass(frozen=True)
class Panel:
    """One pair of axes: its corner and size in pixels, and the ticks along each axis, ascending, of which the
    first and the last are its ends.
    """

    left: float
    top: float
    width: float
    height: float
    x_ticks: Sequence[float]
    y_ticks: Sequence[float]

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where the values stand in the picture."""
        x0, x1, y0, y1 = self.x_ticks[0], self.x_ticks[-1], self.y_ticks[0], self.y_ticks[-1]
        return (
            self.left + self.width * (x - x0) / (x1 - x0),
            self.top + self.height * (1 - (y - y0) / (y1 - y0)),
        )

    def axes(self, title: str, x_name: str, y_name: str) -> list[str]:
        """The frame, ticks with their numbers, and what stands beside the axes."""
        bottom, middle = self.top + self.height, self.left + self.width / 2
        parts = [
            f'<rect x="{self.left}" y="{self.top}" width="{self.width}" height="{self.height}" '
            'class="frame"/>',
            _text(self.left, self.top - 12, title, "title"),
            _text(middle, bottom + 38, x_name, "middle"),
            f'<g transform="rotate(-90 {self.left - 58} {self.top + self.height / 2})">'
            f"{_text(self.left - 58, self.top + self.height / 2, y_name, 'middle')}</g>",
        ]
        every = 1 if len(self.x_ticks) <= MOST_NUMBERS else 2
        for i, (x, words) in enumerate(zip(self.x_ticks, linear_words(self.x_ticks), strict=True)):
            px, _ = self.place(x, self.y_ticks[0])
            parts.append(f'<path d="M{px:.1f} {self.top}V{bottom}" class="grid"/>')
            if i % every == 0:
                parts.append(_text(px, bottom + 17, words, "middle"))
        for y, words in zip(self.y_ticks, linear_words(self.y_ticks), strict=True):
            _, py = self.place(self.x_ticks[0], y)
            parts.append(f'<path d="M{self.left} {py:.1f}h{self.width}" class="grid"/>')
            parts.append(_text(self.left - 6, py + 4, words, "end"))
        return parts


def calibration_svg(found: Calibration) -> str:
    """The picture's text."""
    parts = [*_quality_panel(found), *_error_panel(found)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" aria-label="calibration">\n'
        "<style>text{font:12px sans-serif;fill:#222}.title{font-weight:bold}.middle{text-anchor:middle}"
        ".end{text-anchor:end}.frame{fill:none;stroke:#888}.grid{stroke:#ddd;fill:none}"
        ".line{fill:none;stroke-width:2}</style>\n"
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _quality_panel(found: Calibration) -> list[str]:
    shown = [name for name, figures in found.scores.items() if figures.usable or name == TRUE_ERROR]
    curves = {name: [(float(p.keep), p.quality) for p in found.scores[name].curve] for name in shown}
    measure = MEASURE_NAMES[MEASURES[found.task]]
    panel = Panel(
        70,
        40,
        320,
        270,
        linear_ticks([0.5, 1.0]),
        linear_ticks([y for line in curves.values() for _, y in line]),
    )
    parts = panel.axes(f"{measure} of the kept images", "share kept", measure)
    for i, (name, line) in enumerate(curves.items()):
        color = "#777" if name == TRUE_ERROR else COLORS[i % len(COLORS)]
        dashes = ' stroke-dasharray="5 4"' if name == TRUE_ERROR else ""
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (panel.place(*point) for point in line))
        parts.append(f'<polyline points="{points}" class="line" stroke="{color}"{dashes}/>')
        y = panel.top + 14 + 16 * i
        parts.append(
            f'<path d="M{panel.left + panel.width + 8} {y}h18" class="line" stroke="{color}"{dashes}/>'
        )
        parts.append(_text(panel.left + panel.width + 30, y + 4, name))
    return parts


def _error_panel(found: Calibration) -> list[str]:
    score = found.recommended.score
    images = [(image.uncertainty.get(score), image.error) for image in found.images]
    points = [(x, y) for x, y in images if x is not None]
    title = "error of the images"
    rho = found.scores[score].spearman
    if rho is not None:
        title += f", Spearman {rho:.2f}"
    panel = Panel(
        585, 40, 255, 270, linear_ticks([x for x, _ in points]), linear_ticks([y for _, y in points])
    )
    parts = panel.axes(title, f"uncertainty ({score})", "share of wrong pixels")
    if found.task == "keypoints":
        parts = panel.axes(title, f"uncertainty ({score})", "1 - PCK@10")
    for x, y in (panel.place(*point) for point in points):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{COLORS[0]}" fill-opacity="0.6"/>')
    means = [panel.place(entry.uncertainty, entry.error) for entry in found.scores[score].bins]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in means)
    parts.append(f'<polyline points="{line}" class="line" stroke="{COLORS[1]}"/>')
    return parts


def _text(x: float, y: float, words: str, kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(words)}</text>'
