"""Writes elements of an SVG picture as text. It knows shapes and words, and not what they show.

Texts and values are escaped here and nowhere else, so that a class may have any name.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from fstore.values import printable

FONT = "font-family='system-ui, Helvetica, Arial, sans-serif'"


def text(
    x: float,
    y: float,
    words: str,
    *,
    size: int = 11,
    anchor: str = "start",
    fill: str = "#222222",
    turned: bool = False,
) -> str:
    """Words whose ``anchor`` ("start", "middle" or "end") is at (x, y), written upwards where ``turned``."""
    turn = f" transform='rotate(-90 {x:g} {y:g})'" if turned else ""
    return (
        f"<text x='{x:g}' y='{y:g}' font-size='{size}' text-anchor='{anchor}' fill='{escape(fill)}'{turn}>"
        f"{escape(printable(words))}</text>"
    )


def rectangle(
    x: float, y: float, width: float, height: float, fill: str, *, stroke: str = "none", tip: str = ""
) -> str:
    """A rectangle; a browser shows the ``tip`` of one that is pointed at."""
    head = (
        f"<rect x='{x:g}' y='{y:g}' width='{width:g}' height='{height:g}' fill='{escape(fill)}' "
        f"stroke='{escape(stroke)}'"
    )
    return f"{head}><title>{escape(printable(tip))}</title></rect>" if tip else f"{head}/>"


def line(x1: float, y1: float, x2: float, y2: float, *, dashed: bool = False) -> str:
    """A thin grey line."""
    dashes = " stroke-dasharray='4 3'" if dashed else ""
    return f"<line x1='{x1:g}' y1='{y1:g}' x2='{x2:g}' y2='{y2:g}' stroke='#888888'{dashes}/>"


def document(width: float, height: float, title: str, elements: Iterable[str]) -> str:
    """A whole picture on white. ``title`` is what a screen reader says."""
    body = "\n".join(elements)
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width:g}' height='{height:g}' "
        f"viewBox='0 0 {width:g} {height:g}' role='img' {FONT}>\n<title>{escape(printable(title))}</title>\n"
        f"<rect width='100%' height='100%' fill='#ffffff'/>\n{body}\n</svg>\n"
    )


def shade(share: float) -> str:
    """White for 0 to dark blue for 1."""
    ends = (255, 255, 255), (8, 48, 107)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(*ends, strict=True))
