"""Line charts over epochs as SVG text: a pure function of numbers. Colours are the page's style sheet's.

It knows no training: `pipeline.reports.training_section` says what is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

from pipeline.quality.axis_ticks import linear_ticks, linear_words, log_ticks, log_words

WIDTH, HEIGHT = 460, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 30  # room around the plot


@dataclass(frozen=True)
class Curve:
    """A value for each epoch, from the first; None where there is none. ``kind`` is the line's CSS class."""

    name: str
    values: tuple[float | None, ...]
    kind: str = "main"


def line_chart(
    title: str,
    curves: Sequence[Curve],
    *,
    best: int | None = None,
    final_from: int | None = None,
    is_log: bool = False,
) -> Markup:
    """The curves in one plot whose axis of y holds all finite values. Epochs are counted from 1.

    ``best``: the place (from 0) of an epoch that a dashed line marks. ``final_from``: from this place on the
    ground is darker: epochs over all images. ``is_log``: the axis of y is logarithmic, if all values are
    above 0. Values that are not finite are gaps.
    """
    num = max((len(curve.values) for curve in curves), default=0)
    finite = [v for curve in curves for v in curve.values if v is not None and math.isfinite(v)]
    ticks = log_ticks(min(finite), max(finite)) if is_log and finite and min(finite) > 0 else []
    plot = _Plot(max(num, 1), tuple(ticks) or tuple(linear_ticks(finite)), is_log=bool(ticks))
    parts = [f'<svg class="curves" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    if final_from is not None and final_from < num:
        left = plot.x(final_from - 0.5)
        parts.append(
            f'<rect class="final" x="{left:.1f}" y="{TOP}" width="{WIDTH - RIGHT - left:.1f}" '
            f'height="{HEIGHT - TOP - BOTTOM}"/>'
        )
    parts += _axes(plot, num)
    if best is not None and best < num:
        x = f"{plot.x(best):.1f}"
        parts.append(
            f'<line class="best" x1="{x}" x2="{x}" y1="{TOP}" y2="{HEIGHT - BOTTOM}">'
            f"<title>best epoch: {best + 1}</title></line>"
        )
    for curve in curves:
        parts += _lines(plot, curve)
    return Markup("".join([*parts, "</svg>"]))


@dataclass(frozen=True)
class _Plot:
    """Where epochs (places from 0) and values lie in the drawing."""

    num: int
    ticks: tuple[float, ...]
    """On the axis of y, ascending; the first and the last are its ends."""
    is_log: bool

    def x(self, place: float) -> float:
        """A place's distance from the left side. One epoch alone lies in the middle."""
        share = (place + 0.5) / self.num
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """A value's distance from the upper side."""
        low, high, at = self.ticks[0], self.ticks[-1], value
        if self.is_log:
            low, high, at = math.log10(low), math.log10(high), math.log10(value)
        share = (at - low) / (high - low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _axes(plot: _Plot, num: int) -> Iterator[str]:
    words = log_words(plot.ticks) if plot.is_log else linear_words(plot.ticks)
    for value, text in zip(plot.ticks, words, strict=True):
        y = f"{plot.y(value):.1f}"
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
        yield f'<text x="{LEFT - 6}" y="{y}" dy="4" text-anchor="end">{text}</text>'
    every = max(1, math.ceil(num / 10))
    for place in range(0, num, every):
        x, below = f"{plot.x(place):.1f}", HEIGHT - BOTTOM + 16
        yield f'<text x="{x}" y="{below}" text-anchor="middle">{place + 1}</text>'


def _lines(plot: _Plot, curve: Curve) -> Iterator[str]:
    """A polyline for each run of finite values, and a dot for each value, which says it when pointed at."""
    run: list[str] = []
    name, kind = escape(curve.name), escape(curve.kind)
    dots = []
    for place, value in enumerate((*curve.values, None)):
        if value is not None and math.isfinite(value):
            point = f"{plot.x(place):.1f},{plot.y(value):.1f}"
            run.append(point)
            x, y = point.split(",")
            said = f"{name}, epoch {place + 1}: {value:.4g}"
            dots.append(f'<circle class="{kind}" cx="{x}" cy="{y}" r="2.5"><title>{said}</title></circle>')
            continue
        if len(run) > 1:
            yield f'<polyline class="{kind}" points="{" ".join(run)}"><title>{name}</title></polyline>'
        run = []
    yield from dots
