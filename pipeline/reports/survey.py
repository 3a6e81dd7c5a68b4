"""One pass over all committed images of a dataset: what is counted of each, and how it looks.

Threads read ahead a little, so that memory does not grow with the number of images but for a thousand bytes
of each: class counts and a description of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import fstore
from pipeline.quality.duplicates import SIDE, describe
from pipeline.reports.reading import read_image, worked_through

NUM_VALUES = SIDE * SIDE + 1  # of a description


@dataclass(frozen=True)
class Survey:
    """Of n committed images and K classes.

    counts: (n, K) int64 pixels of each class, or None of keypoints. descriptions: (n, d) float32, as
    `pipeline.quality.duplicates.describe` gives them. votes: (K, K) int64, how many of the members' votes for
    class b were given at pixels with label a, or None where the dataset does not hold them.
    """

    counts: np.ndarray | None
    descriptions: np.ndarray
    votes: np.ndarray | None


def survey(store: fstore.Dataset) -> Survey:
    """Read every committed image of a dataset once. Raises CorruptionError where one is damaged."""
    num_classes = len(store.meta.classes)
    has_labels = store.meta.keypoints is None
    has_votes = has_labels and store.meta.member_votes

    def of_image(position: int) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        description = describe(read_image(store, "images", position)[None])[0]
        labels = read_image(store, "labels", position) if has_labels else None
        counts = None if labels is None else class_pixels(labels, num_classes)
        votes = read_image(store, "member_votes", position).astype(np.int64) if has_votes else None
        return description, counts, votes

    descriptions = np.empty((len(store), NUM_VALUES), np.float32)
    counts = np.zeros((len(store), num_classes), np.int64) if has_labels else None
    total = np.zeros((num_classes, num_classes), np.int64) if has_votes else None
    results = worked_through(of_image, range(len(store)), len(store), "reading images")
    for place, (description, pixels, votes) in enumerate(results):
        descriptions[place] = description
        if counts is not None and pixels is not None:
            counts[place] = pixels
        if total is not None and votes is not None:
            total += votes
    return Survey(counts, descriptions, total)


def class_pixels(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """(K,) int64: pixels of each class in (H, W) ``labels``; the ignored label is no class."""
    return np.bincount(labels.ravel(), minlength=num_classes)[:num_classes]
