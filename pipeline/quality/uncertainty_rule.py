"""Recommends which share of images to keep, and by which score: a rule that is honest with few images.

RULE says it in words. Few annotated images have curves that rise by chance, and the best of several shares
and scores rises by chance more often. So a gain counts only where random orders of the same images seldom
reach as much: a permutation test, corrected for trying several shares by the smallest p-value (Westfall and
Young, Resampling-Based Multiple Testing, 1993, section 2.3). Pure functions; nothing here knows stores or
files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.quality.calibration_record import CurvePoint, Recommendation, ScoreFigures
from pipeline.quality.uncertainty_figures import (
    Counts,
    Floats,
    keeping_order,
    kept_parts,
    pooled_gain,
)
from pipeline.settings.values import Keep

LEVEL = 0.05
NUM_ORDERS = 1999
NUM_RESAMPLES = 1000
SEED = 0
DEFAULT_SCORE = "top10"
RULE = (
    "The largest share from 0.5 up at which the kept images are better than all images by more than chance: "
    "of 1,999 random orders of the images at most 5 in 100 gain as much at any share, each share counted by "
    "how rare its gain is. Else 1. The gain is that of mIoU (of PCK for keypoints) over the classes that the "
    "kept images still show. The score is top10 unless another one gains more, over all shares, in nearly "
    "all of 1,000 resamples of the images."
)
NOTHING = "the uncertainty says nothing here: keep all"


@dataclass(frozen=True)
class Advice:
    """A share to keep, and one sentence on why."""

    keep: Keep
    reason: str


class ChanceGains:
    """What random orders of the images gain. A class, because the scores share it: it follows from the
    images and from how many of them are kept, and from no score.
    """

    def __init__(self, parts: Counts) -> None:
        """``parts`` (N, K, 2): the images' counts, as in `pipeline.quality.uncertainty_figures`."""
        self._parts = parts
        self._gains: dict[tuple[int, ...], Floats] = {}

    def gains(self, counts: tuple[int, ...]) -> Floats:
        """(NUM_ORDERS, F): the gain of each random order where so many images are kept."""
        if counts not in self._gains:
            random, everything = np.random.default_rng(SEED), self._parts.sum(0)
            orders = (random.permutation(len(self._parts)) for _ in range(NUM_ORDERS))
            self._gains[counts] = np.stack(
                [pooled_gain(kept_parts(self._parts, order, counts), everything) for order in orders]
            )
        return self._gains[counts]


def adjusted_p_values(found: Floats, by_chance: Floats) -> Floats:
    """For each of F gains: how often the rarest gain of a random order is as rare, (F,) within (0, 1].

    ``found`` (F,); ``by_chance`` (R, F), of R random orders, which the found one joins. A gain that is not
    finite counts as the smallest.
    """
    rows = np.concatenate([found[None], by_chance])
    rows = np.where(np.isnan(rows), -np.inf, rows)
    # p[r, f]: the share of all rows whose gain at f is at least that of row r
    p = np.stack([_share_at_least(column) for column in rows.T], axis=1)
    rarest = np.sort(p.min(axis=1))
    return np.searchsorted(rarest, p[0] + 1e-12, side="right") / len(rarest)


def advise(curve: Sequence[CurvePoint], chance: ChanceGains, *, is_constant: bool) -> Advice:
    """The share to keep by a score with this curve. ``is_constant``: it tells no image from another."""
    everything = Keep.parse("1")
    if is_constant:
        return Advice(everything, f"all images have the same uncertainty or the same error; {NOTHING}")
    most = curve[-1].images
    tested = [point for point in curve if 0 < point.images < most]
    if not tested:
        return Advice(everything, "there are too few images to drop one; keep all")
    found = np.array([point.gain for point in tested])
    p = adjusted_p_values(found, chance.gains(tuple(point.images for point in tested)))
    passing = [i for i in range(len(tested)) if p[i] <= LEVEL and found[i] > 0]
    if not passing:
        least = int(p.argmin())
        return Advice(
            everything,
            f"no share gains more than random choices of as many images do (smallest p = {p[least]:.3f}, "
            f"at {tested[least].keep}; expected {LEVEL} or less); {NOTHING}",
        )
    best = passing[-1]
    return Advice(
        Keep.parse(tested[best].keep),
        f"keeping {tested[best].keep} gains {found[best]:.4f} over keeping all, which random choices of as "
        f"many images seldom do (p = {p[best]:.3f}), and no larger share does so",
    )


def choose_score(
    scores: Mapping[str, ScoreFigures], uncertainty: Mapping[str, NDArray[np.floating]], parts: Counts
) -> Recommendation:
    """The score to filter by, of those that are usable, and the share to keep by it.

    ``uncertainty`` (N,) by the score's name. Another score than top10 must gain more in so many of the
    resamples that the best of all of them would seldom do so by chance (Bonferroni).
    """
    others = [name for name, figures in scores.items() if figures.usable and name != DEFAULT_SCORE]
    better = max(others, key=lambda name: scores[name].mean_gain, default=DEFAULT_SCORE)
    chosen = scores[DEFAULT_SCORE]
    if not others or scores[better].mean_gain <= chosen.mean_gain:
        return Recommendation(DEFAULT_SCORE, chosen.recommended_keep, f"no score gains more; {chosen.reason}")
    counts = [point.images for point in chosen.curve if point.keep != "1"]
    share = _share_better(uncertainty[better], uncertainty[DEFAULT_SCORE], parts, counts)
    needed = 1 - LEVEL / len(others)
    words = f"{better} gains more than {DEFAULT_SCORE} in {share:.0%} of the resamples"
    if share < needed:
        reason = f"{words}, which may be chance ({needed:.0%} are expected); {chosen.reason}"
        return Recommendation(DEFAULT_SCORE, chosen.recommended_keep, reason)
    chosen = scores[better]
    return Recommendation(better, chosen.recommended_keep, f"{words}; {chosen.reason}")


def _share_better(
    one: NDArray[np.floating], other: NDArray[np.floating], parts: Counts, counts: Sequence[int]
) -> float:
    """In which share of resamples of the images, with replacement, ``one`` gains more than ``other``."""
    random, better = np.random.default_rng(SEED), 0
    for _ in range(NUM_RESAMPLES):
        drawn = random.integers(len(parts), size=len(parts))
        sample = parts[drawn]
        gains = [
            np.nanmean(pooled_gain(kept_parts(sample, keeping_order(values[drawn]), counts), sample.sum(0)))
            for values in (one, other)
        ]
        better += gains[0] > gains[1]
    return better / NUM_RESAMPLES


def _share_at_least(values: Floats) -> Floats:
    """For each of R values, the share of all that are at least as large, up to rounding: (R,)."""
    ordered = np.sort(values)
    at_least: Floats = (len(values) - np.searchsorted(ordered, values - 1e-12, side="left")) / len(values)
    return at_least
