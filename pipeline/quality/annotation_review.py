"""Looks at all annotations of a feature store: image by image, so that one at a time is in memory.

It reads masks, pictures and keypoints of an open store, and never features. What is looked for stands in the
modules of the single checks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fstore.display import class_warnings
from fstore.feature_store import FeatureStore
from fstore.format import Region
from pipeline.errors import count
from pipeline.quality.annotation_checks import KINDS, SLIP, SWAPPED, Finding, mask_findings
from pipeline.quality.keypoint_checks import keypoint_findings
from pipeline.quality.swapped_masks import Outlines


@dataclass(frozen=True)
class AnnotationReview:
    """What was found in the annotations of a store's committed images.

    findings: in the order of the images, which are places among the committed ones. names: of the classes, or
    of the keypoints, that the findings speak of. warnings: of the classes, as `fstore.display` gives them.
    """

    findings: tuple[Finding, ...]
    names: tuple[str, ...]
    warnings: tuple[str, ...]

    def line(self, place: str) -> str | None:
        """One line on what was found in the store at ``place``; None where nothing was."""
        number = Counter(finding.kind for finding in self.findings)
        parts = [count(number[kind], noun) for kind, noun in KINDS.items() if number[kind]]
        parts += [f"classes {warning}" for warning in self.warnings]
        if not parts:
            return None
        return f"annotations: {', '.join(parts)}; see `dgan report {place}`"


def review_annotations(store: FeatureStore, looked: Callable[[int], None] | None = None) -> AnnotationReview:
    """Look at the annotations of all committed images. ``looked`` is called with 1 after each image.

    Where keypoints are the task, the masks are made of them, and only the keypoints are looked at. Raises
    StoreError for a damaged array.
    """
    warnings = tuple(class_warnings(store))
    height, width = store.shape[1:3]
    if store.meta.keypoints is not None:
        names = tuple(store.meta.keypoints.names)
        region = ((0, len(names)), (0, 3))
        points = np.array([_read(store, "keypoints", number, region) for number in store.image_ids.tolist()])
        return AnnotationReview(tuple(keypoint_findings(points, names, height, width)), names, warnings)
    names = tuple(info.name for info in store.meta.classes)
    outlines, found = Outlines(), []
    for image, number in enumerate(store.image_ids.tolist()):
        region = ((0, height), (0, width))
        mask = _read(store, "masks", number, region)
        picture = _read(store, "images", number, (*region, (0, 3)))
        found.append(mask_findings(image, mask, picture, store.meta.ignore))
        outlines.add(image, mask, picture)
        if looked is not None:
            looked(1)
    for image, other in outlines.swapped():
        others = [finding for finding in found[image] if finding.kind != SLIP]  # all of it slips
        found[image] = [Finding(image, SWAPPED, None, (), _fits(store, other)), *others]
    return AnnotationReview(tuple(finding for of_image in found for finding in of_image), names, warnings)


def _read(store: FeatureStore, name: str, number: int, region: Region) -> np.ndarray:
    return store.array(name).read(((number, number + 1), *region))[0]


def _fits(store: FeatureStore, other: int) -> str:
    return f"it fits image {image_numbers(store)[other]} better"


def image_numbers(store: FeatureStore) -> list[int]:
    """The number of each committed image: that of its annotation's file.

    Raises StoreError where the store does not record them as numbers.
    """
    return [store.image_numbers[image] for image in store.image_ids.tolist()]
