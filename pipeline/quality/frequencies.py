"""How often each class is seen, beside the annotated set, and which classes the members take for one another.

Pure functions of counts. Nothing here knows of stores, files or pictures. Class counts are (n, K) whole
numbers: pixels of each class in each image. Pixels of the ignore label belong to no class and count nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fstore.display import RARE_IMAGES
from pipeline.errors import count

FEW = 0.1  # a class whose share of images is below this part of its share in the annotated set is too rare
LOST = 2.0  # a class of which the filter drops this many times the part that it drops of all pixels is hit


@dataclass(frozen=True)
class Shares:
    """How often K classes are seen in some images. Shares are of 0 to 1, NaN where there is no image."""

    num_images: int
    showing: NDArray[np.int64]
    """(K,) images with at least one pixel of the class."""
    pixels: NDArray[np.float64]
    """(K,) share of all pixels that belong to the class; together 1."""

    @property
    def images(self) -> NDArray[np.float64]:
        """(K,) share of the images that show the class."""
        return _parts(self.showing, self.num_images)


@dataclass(frozen=True)
class Frequencies:
    """The classes of a dataset, of the part that the filter keeps, and of the annotated set.

    ``kept`` and ``annotated`` are None where they are not known. ``lost`` (K,): of each class the part of its
    pixels that is in images that the filter drops, NaN where it has none or ``kept`` is None.
    """

    all: Shares
    kept: Shares | None
    annotated: Shares | None
    lost: NDArray[np.float64]

    @property
    def used(self) -> Shares:
        """The images that are used: those that are kept, or all."""
        return self.all if self.kept is None else self.kept

    @property
    def ratio(self) -> NDArray[np.float64]:
        """(K,) how many times its share of the annotated pixels a class has of the used ones.

        Infinite where no annotated pixel has it, and NaN where no used one has it either or nothing is known.
        """
        if self.annotated is None:
            return np.full(len(self.lost), np.nan)
        return _parts(self.used.pixels, self.annotated.pixels)


@dataclass(frozen=True)
class ClassWarning:
    """Why class ``id`` may be learnt badly, in one line that begins with the class's name."""

    id: int
    text: str


def shares(counts: NDArray[np.integer]) -> Shares:
    """The shares of K classes in images with these class counts (n, K)."""
    pixels = counts.sum(0, dtype=np.int64)  # [K]
    return Shares(len(counts), (counts > 0).sum(0), _parts(pixels, pixels.sum()))


def frequencies(
    counts: NDArray[np.integer],
    kept: NDArray[np.bool_] | None = None,
    annotated: NDArray[np.integer] | None = None,
) -> Frequencies:
    """Compare a dataset's class counts (n, K) with those of its kept images and of m annotated ones.

    Args:
        counts: of all images of the dataset.
        kept: (n,) which of them the filter keeps; None where no filter is set.
        annotated: (m, K); None where the annotated set is not at hand.

    Raises:
        ValueError: the shapes do not fit.
    """
    if kept is not None and kept.shape != counts.shape[:1]:
        raise ValueError(f"kept has shape {kept.shape}, expected {counts.shape[:1]}: an entry for each image")
    if annotated is not None and annotated.shape[1:] != counts.shape[1:]:
        raise ValueError(
            f"the annotated set has {annotated.shape[1:]} classes, the dataset {counts.shape[1:]}"
        )
    pixels = counts.sum(0, dtype=np.int64)  # [K]
    return Frequencies(
        shares(counts),
        None if kept is None else shares(counts[kept]),
        None if annotated is None else shares(annotated),
        np.full(len(pixels), np.nan)
        if kept is None
        else _parts(counts[~kept].sum(0, dtype=np.int64), pixels),
    )


def rare_classes(found: Frequencies, names: Sequence[str]) -> list[ClassWarning]:
    """The classes that may be learnt badly, by their ids; one class may be named for several reasons.

    * Fewer than ``RARE_IMAGES`` annotated images show it: 3, as in ``dgan info``.
    * The share of used images that show it is less than a tenth of its share of the annotated images.
    * The filter drops at least twice the part of its pixels that it drops of all pixels, and at least
      ``RARE_IMAGES`` of the images that show it.
    """
    reasons = (_seldom_annotated, _seldom_shown, _filtered_away)
    texts = ((k, reason(found, k)) for k in range(len(names)) for reason in reasons)
    return [ClassWarning(k, f"{names[k]}: {text}") for k, text in texts if text is not None]


def _seldom_annotated(found: Frequencies, k: int) -> str | None:
    if found.annotated is None:
        return None
    least = min(RARE_IMAGES, found.annotated.num_images)  # of two images a class can be in no more
    if found.annotated.showing[k] >= least:
        return None
    images = count(int(found.annotated.showing[k]), "image")
    return f"annotated in {images}, expected at least {least}; annotate more of it"


def _seldom_shown(found: Frequencies, k: int) -> str | None:
    if found.annotated is None or not found.used.images[k] < FEW * found.annotated.images[k]:
        return None
    which = "images" if found.kept is None else "kept images"
    share, before = _percent(found.used.images[k]), _percent(found.annotated.images[k])
    return f"{share} of the {which} show it, and {before} of the annotated ones"


def _filtered_away(found: Frequencies, k: int) -> str | None:
    if found.kept is None or found.all.showing[k] - found.kept.showing[k] < RARE_IMAGES:
        return None
    average = (found.all.num_images - found.kept.num_images) / found.all.num_images
    if found.lost[k] < LOST * average:
        return None
    return f"the filter drops {_percent(found.lost[k])} of its pixels, and {_percent(average)} of all images"


def _percent(share: float) -> str:
    """A share in words for people: ``12%``, ``0.4%``, and ``none`` for nothing."""
    return "none" if share == 0 else f"{100 * share:.{0 if share >= 0.0995 else 1}f}%"


@dataclass(frozen=True)
class ConfusedPair:
    """Classes ``first`` < ``second``, and how often members disagree about them.

    ``votes``: of members for one of the two where the majority has the other. ``share``: their part of all
    votes at the pixels of both classes.
    """

    first: int
    second: int
    votes: int
    share: float


def confused_pairs(votes: NDArray[np.integer], at_most: int = 10) -> list[ConfusedPair]:
    """The pairs of classes that members take for one another, the most confused first, then by their ids.

    ``votes`` (K, K), as a dataset's ``member_votes`` summed over images: [a, b] is how many votes for class b
    were given at pixels with label a. A pair about which all members agree everywhere is left out.
    """
    votes = votes.astype(np.int64)
    rows = votes.sum(1)  # [K]
    crossed = votes + votes.T
    first, second = np.nonzero(np.triu(crossed, 1))
    pairs = [
        ConfusedPair(int(a), int(b), int(crossed[a, b]), float(crossed[a, b] / (rows[a] + rows[b])))
        for a, b in zip(first, second, strict=True)
    ]
    return sorted(pairs, key=lambda pair: (-pair.share, pair.first, pair.second))[:at_most]


def _parts(part: NDArray[np.generic], whole: NDArray[np.generic] | float) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.divide(part, whole, dtype=np.float64)
