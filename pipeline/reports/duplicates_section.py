"""The section on near-duplicates: pairs of images that are nearly the same picture, side by side."""

from __future__ import annotations

import numpy as np

import fstore
from pipeline.quality.duplicates import near_duplicates
from pipeline.reports.page import Section
from pipeline.reports.pictures import SMALL, encode_picture
from pipeline.reports.reading import read_image

MOST_PAIRS = 12
SIDE = 144  # pixels of a picture of a pair


def duplicates_section(store: fstore.Dataset, descriptions: np.ndarray) -> Section:
    """The most similar pairs of a dataset's images. ``descriptions``: (n, d), of `describe`."""
    found = near_duplicates(descriptions, at_most=MOST_PAIRS)
    pairs = [
        {
            "ids": [int(store.image_ids[place]) for place in (pair.first, pair.second)],
            "urls": [
                encode_picture(read_image(store, "images", place), SIDE).url
                for place in (pair.first, pair.second)
            ],
            "similarity": f"{pair.similarity:.4f}",
        }
        for pair in found.pairs
    ]
    return Section(
        "duplicates",
        "Near-duplicates",
        "duplicates.html.j2",
        {
            "pairs": pairs,
            "found": found.found,
            "least": f"{found.least:.4f}",
            "num_images": len(store),
            "is_small": max(store.meta.shape) <= SMALL,
        },
    )
