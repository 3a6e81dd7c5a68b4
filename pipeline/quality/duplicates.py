"""Finds pairs of images that are nearly the same picture: copies, and what a generator makes again and again.

Pure functions of arrays. Nothing here knows of stores, files or generators. A picture is described by 16 x 16
area means of its luminance, less their mean and scaled to length 1. The product of two descriptions is the
normalised correlation of the pictures: it does not see brightness, contrast or colour.

What counts as nearly the same was measured on the embedded generator of faces, with images of 64 pixels. Of
the 50 million pairs of 10,000 different images the median correlation is 0.66 and the largest 0.9926. Changed
images correlate with what they were made of by at least 0.998 (JPEG of quality 30), 0.9986 (10% brighter),
0.9992 and 0.995 (a step in Z of 0.02 and 0.05 along every axis). ``LEAST`` lies between. In other words:
near-duplicates are at most 1.5% as far apart as the median pair. ``least_similarity`` carries this part over
to generators whose images are all alike, for example before one background.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import adaptive_avg_pool2d

SIDE = 16  # of the area means
LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601
FLAT = 0.5  # grey levels: a picture whose area means deviate less from their mean has nothing to compare

LEAST = 0.995  # correlation of near-duplicates
MOST = 0.99999  # more is asked for nowhere: the sums of copies are off by some 1e-7
PART_OF_MEDIAN = 0.015  # of the median pair's distance, which is 1 - correlation
TYPICAL_IMAGES = 512  # are enough to know the median
FEWEST_IMAGES = 16  # with fewer, the median pair may itself be a near-duplicate

STEPS = 1_000_000  # a similarity is rounded to 1 / STEPS, so that the sums of copies are equal
BLOCK = 1024  # images a side whose similarities are in memory at once: 4 MB


@dataclass(frozen=True)
class Pair:
    """Images ``first`` < ``second``, by their places, and how similar they are: at most 1."""

    first: int
    second: int
    similarity: float


@dataclass(frozen=True)
class Duplicates:
    """The strongest near-duplicates first, equal ones by their places. ``found``: how many pairs there are in
    all; ``least``: the similarity from which on a pair is one.
    """

    pairs: tuple[Pair, ...]
    found: int
    least: float


def describe(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What is compared of images (n, h, w, 3) of any size: (n, 257) float32 of length 1.

    The last value is 1 for a flat picture and 0 for any other, so that flat ones are alike. Raises ValueError
    for another shape or dtype.
    """
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise ValueError(f"images are {images.shape} {images.dtype}, expected (n, h, w, 3) uint8")
    means = np.empty((len(images), SIDE * SIDE), np.float32)
    for place, image in enumerate(images):  # one at a time: in float32 many would take much memory
        grey = torch.from_numpy(image.astype(np.float32) @ np.array(LUMINANCE, np.float32))  # [h, w]
        means[place] = adaptive_avg_pool2d(grey[None], SIDE).flatten()
    means -= means.mean(1, keepdims=True)
    length = np.linalg.norm(means, axis=1, keepdims=True)  # [n, 1]
    flat = length < FLAT * SIDE
    values = np.where(flat, 0, means / np.where(flat, 1, length))
    return np.concatenate([values, flat], axis=1).astype(np.float32)


def least_similarity(descriptions: NDArray[np.float32]) -> float:
    """From which similarity on two of these images are near-duplicates: in [``LEAST``, ``MOST``].

    The images are (n, d) as ``describe`` gives them; the median is that of an even sample of them.
    """
    n = len(descriptions)
    if n < FEWEST_IMAGES:
        return LEAST
    sample = descriptions[np.linspace(0, n - 1, min(n, TYPICAL_IMAGES)).round().astype(int)]
    upper = np.triu_indices(len(sample), 1)
    median = float(np.median((sample @ sample.T)[upper]))
    return min(max(LEAST, 1 - PART_OF_MEDIAN * (1 - median)), MOST)


def near_duplicates(
    descriptions: NDArray[np.float32], *, at_most: int = 100, least: float | None = None
) -> Duplicates:
    """The pairs of images that are nearly the same picture, ``at_most`` of them.

    Every pair is compared, a block at a time: memory does not grow with their number. ``descriptions``
    (n, d): rows of ``describe``. ``least``: a similarity from 0 to 1; None: that of ``least_similarity``.
    """
    n, least = len(descriptions), least_similarity(descriptions) if least is None else least
    bar = round(least * STEPS)
    strongest, found = np.empty(0, np.int64), 0
    for first, second, steps in _similarities(np.ascontiguousarray(descriptions, np.float32)):
        i, j = np.nonzero(steps >= bar)
        apart = first + i < second + j  # each pair once, and no image with itself
        i, j = i[apart], j[apart]
        found += len(i)
        # One number orders a pair: the larger its similarity, and then the smaller its places, the smaller.
        keys = ((STEPS - steps[i, j].astype(np.int64)) * n + first + i) * n + second + j
        keys = np.concatenate([strongest, keys])
        strongest = np.partition(keys, at_most)[:at_most] if len(keys) > at_most else keys
    return Duplicates(tuple(_pair(key, n) for key in np.sort(strongest).tolist()), found, least)


def _similarities(
    descriptions: NDArray[np.float32],
) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Blocks of the similarities of all pairs, in ``STEPS``: (first row, first column, whole numbers)."""
    starts = range(0, len(descriptions), BLOCK)
    for first in starts:
        for second in (start for start in starts if start >= first):
            block = descriptions[first : first + BLOCK] @ descriptions[second : second + BLOCK].T
            np.multiply(block, STEPS, out=block)
            yield first, second, np.minimum(np.rint(block, out=block), STEPS, out=block)


def _pair(key: int, n: int) -> Pair:
    rest, second = divmod(key, n)
    missing, first = divmod(rest, n)
    return Pair(first, second, (STEPS - missing) / STEPS)
