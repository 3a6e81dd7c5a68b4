"""What a filter does to the classes of a dataset, in lines for people.

Pure: it is given which image shows which class, and which images are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.errors import count, few

MUCH = 2  # a class loses much more than all images where the part that it loses is so many times theirs,
LEAST_IMAGES = 2  # and by so many images more than that part of it would be
NAME_WIDTH = 20


def share_lines(names: Sequence[str], shown: np.ndarray, plain: np.ndarray, kept: np.ndarray) -> list[str]:
    """A table of the classes that are shown, before and after a filter that is per class.

    Args:
        names: of the K classes.
        shown: (N, K) bool, whether an image shows a class.
        plain: (N,) bool, what is kept without the rule; kept: (N,) bool, with it.

    Returns:
        For each class: the images that show it and their share of all, how many are kept without the rule and
        with it, and their share of all that are kept with it. Then a line on what the rule adds.
    """
    before, without, after = (shown[mask].sum(0) for mask in (np.ones(len(plain), bool), plain, kept))
    shares = 100 * before / max(len(plain), 1), 100 * after / max(int(kept.sum()), 1)
    lines = [
        f"{'class':<{NAME_WIDTH}} {'images':>9} {'share':>7} {'plain rule':>11} {'kept':>9} {'share':>7}"
    ]
    for name, images, share, less, more, kept_share in zip(
        names, before, shares[0], without, after, shares[1], strict=True
    ):
        if images:
            shown_name = name if len(name) <= NAME_WIDTH else f"{name[: NAME_WIDTH - 3]}..."
            lines.append(
                f"{shown_name:<{NAME_WIDTH}} {images:>9,} {share:>6.1f}% {less:>11,} {more:>9,} "
                f"{kept_share:>6.1f}%"
            )
    added = int(kept.sum() - plain.sum())
    if not added:
        return [*lines, "the plain rule keeps enough of every class: nothing is added"]
    saved = few(_short_of(names, shown, without, after), 8)
    return [*lines, f"{count(added, 'image')} more than by the plain rule, for {saved}"]


def _short_of(names: Sequence[str], shown: np.ndarray, without: np.ndarray, after: np.ndarray) -> list[str]:
    """Names of the classes of which more is kept, those first that gain the largest part of their images."""
    images = np.maximum(shown.sum(0), 1)
    order = np.argsort(-(after - without) / images, kind="stable")
    return [names[i] for i in order if after[i] > without[i]]


def losing_line(names: Sequence[str], shown: np.ndarray, kept: np.ndarray) -> str | None:
    """A line on the classes that lose much more of their images than all images do, or None.

    The arguments are those of ``share_lines``.
    """
    images, lost = shown.sum(0), shown[~kept].sum(0)
    average = float((~kept).mean()) if len(kept) else 0.0
    expected = average * images
    much = np.flatnonzero((lost >= MUCH * expected) & (lost - expected >= LEAST_IMAGES))
    if not len(much):
        return None
    worst = sorted(much.tolist(), key=lambda i: -lost[i] / images[i])
    some = few([f"{names[i]} ({lost[i]:,} of {images[i]:,})" for i in worst])
    return (
        f"{average:.0%} of all images are dropped, and much more of those that show {some}; "
        "--keep-per-class keeps them"
    )
