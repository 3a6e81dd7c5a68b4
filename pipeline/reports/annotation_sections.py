"""Two sections of a feature store's page: the list of what was found, and the table of classes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import fstore
from fstore.display import RARE_IMAGES, class_rows
from pipeline.quality.annotation_review import AnnotationReview
from pipeline.reports.page import Section

MAX_LISTED = 500  # findings
_OF_MASKS = "boundaries beside their edges, holes, specks, swapped masks, and masks of a single class"
_OF_KEYPOINTS = "keypoints outside their picture, two at one position, and left and right exchanged"


def findings_section(review: AnnotationReview, numbers: Sequence[int], *, of_keypoints: bool) -> Section:
    """The findings by image, in words; ``numbers`` are the images' numbers by their places."""
    shown = review.findings[:MAX_LISTED]
    images = [
        {"image": numbers[image], "texts": [finding.text(review.names) for finding in of_image]}
        for image, of_image in groupby(shown, key=lambda finding: finding.image)
    ]
    looked = _OF_KEYPOINTS if of_keypoints else _OF_MASKS
    values = {
        "images": images,
        "num_left": len(review.findings) - len(shown),
        "nothing": f"Nothing was found. Looked for: {looked}.",
    }
    return Section("findings", "Findings", "findings.html.j2", values)


def classes_section(store: fstore.FeatureStore) -> Section:
    """Pixels and images of each class; of keypoints, of the pixels near each."""
    total = len(store) * store.meta.height * store.meta.width
    least = min(RARE_IMAGES, len(store))
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "color": color,
            "pixels": pixels or 0,
            "share": (pixels or 0) / total,
            "images": images or 0,
            "warning": "in no image" if not images else f"in fewer than {least}" if images < least else "",
        }
        for _, name, color, pixels, images in class_rows(store)
    ]
    values = {
        "noun": "Class" if store.meta.keypoints is None else "Pixels near",
        "rows": rows,
        "largest": max((row["share"] for row in rows), default=0),
        "ignored": 1 - sum(row["pixels"] for row in rows) / total,
    }
    return Section("classes", "Classes", "annotated_classes.html.j2", values)
