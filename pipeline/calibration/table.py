"""The calibration as lines for a terminal. It knows figures, and no files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.calibration.plot import MEASURE_NAMES

SHOWN_SHARES = ("1", "0.9", "0.8", "0.7", "0.6", "0.5")
MOST_CLASSES = 8


def table_lines(found: Mapping[str, Any], out: Path) -> list[str]:
    """The table, what is recommended and why, the classes that are dropped most, and where all of it lies."""
    measure, scores = found["measure"], found["scores"]
    name = MEASURE_NAMES[measure]
    width = max(len(score) for score in scores)
    head = [
        f"{'score':{width}}",
        "Spearman",
        "mean gain",
        *(f"at {share:>3}" for share in SHOWN_SHARES),
        "keep",
    ]
    lines = [
        f"{len(found['images'])} annotated images in {found['folds']} folds: Spearman's rho with the error, "
        f"mean gain, {name} by the share kept",
        "  ".join(head),
        *(_row(score, scores[score], width, measure) for score in scores),
    ]
    if any(not figures["usable"] for figures in scores.values()):
        lines.append("keep in brackets: measured only, such a score cannot be chosen with --score")
    chosen = found["recommended"]
    lines.append(f"recommended: --score {chosen['score']} --keep {chosen['keep']}")
    lines.append(f"why: {chosen['reason']}")
    lines += _lost_lines(scores[chosen["score"]]["lost"])
    return [*lines, f"{out}: the figures; {out.with_suffix('.svg')}: the picture"]


def _row(score: str, figures: Mapping[str, Any], width: int, measure: str) -> str:
    rho = figures["spearman"]
    by_share = {point["keep"]: point[measure] for point in figures["curve"]}
    keep = figures["recommended_keep"]
    cells = [
        f"{score:{width}}",
        f"{'none' if rho is None else f'{rho:.3f}':>8}",
        f"{figures['mean_gain']:>+9.4f}",
        *(f"{by_share[share]:>6.4f}" for share in SHOWN_SHARES),
        keep if figures["usable"] else f"({keep})",
    ]
    return "  ".join(cells)


def _lost_lines(lost: list[Mapping[str, Any]]) -> list[str]:
    """The classes of which most images are dropped, in one line; none where nothing is dropped."""
    shares = [
        (entry["dropped"] / entry["images"], entry["class"], entry) for entry in lost if entry["dropped"]
    ]
    shares.sort(key=lambda part: (-part[0], part[1]))
    if not shares:
        return []
    shown = ", ".join(
        f"{name} {entry['dropped']} of {entry['images']}" for _, name, entry in shares[:MOST_CLASSES]
    )
    more = f" and {len(shares) - MOST_CLASSES} more" if len(shares) > MOST_CLASSES else ""
    return [f"dropped images by class: {shown}{more}"]
