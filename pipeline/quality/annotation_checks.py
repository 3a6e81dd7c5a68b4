"""What looks wrong in one image's annotation: holes, specks, boundaries beside their edges, keypoints.

Pure functions of a mask and its picture. They point things out for a person to look at, and refuse nothing. A
mask whose classes have other areas than those of other images is no fault. They know no files, no other
images and no class names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import count
from pipeline.quality.boundary_slips import boundary_slips
from pipeline.quality.regions import Regions, connected_regions

SLIP, HOLE, SPECK, SWAPPED, SINGLE, KEYPOINT = "slip", "hole", "speck", "swapped", "single", "keypoint"
KINDS = {
    SLIP: "boundary slip",
    HOLE: "hole",
    SPECK: "speck",
    SWAPPED: "swapped mask",
    SINGLE: "single-class image",
    KEYPOINT: "odd keypoint",
}
"""The word for each kind of finding, in the singular; in the order in which they are listed."""
BACKGROUND = 0
HOLE_SHARE = 1 / 256  # of the picture: a larger one is likelier seen through, as between arm and body
SPECK_SHARE = 1 / 2048  # of the picture: a larger one may be a part of its own
SPECK_OF_MAIN = 1 / 20  # of the class's largest region there: of a class of small parts none is a speck


@dataclass(frozen=True)
class Finding:
    """Something to look at in one image.

    image: its place. kind: a key of KINDS. box: top, left, bottom, right in pixels, the last two outside;
    None: the whole image. classes: the labels that it is about. detail: the words behind the classes' names.
    """

    image: int
    kind: str
    box: tuple[int, int, int, int] | None
    classes: tuple[int, ...] = ()
    detail: str = ""

    def text(self, names: Sequence[str]) -> str:
        """The finding in words; ``names`` of the classes by label, or of the keypoints."""
        named = " and ".join(names[label] if label < len(names) else str(label) for label in self.classes)
        told = ", ".join(part for part in (named, self.detail) if part)
        return f"{KINDS[self.kind]}: {told}" if told else KINDS[self.kind]


def mask_findings(
    image: int, mask: NDArray[Any], picture: NDArray[np.uint8], ignore: int | None = None
) -> list[Finding]:
    """What looks wrong in the mask (H, W) of a picture (H, W, 3) uint8.

    Raises ValueError where the two differ in size.
    """
    found = slip_findings(image, mask, picture, ignore)
    return found + region_findings(image, mask, ignore)


def slip_findings(
    image: int, mask: NDArray[Any], picture: NDArray[np.uint8], ignore: int | None = None
) -> list[Finding]:
    """Stretches of boundary beside their edges, the longest first."""
    findings = []
    for slip in boundary_slips(mask, picture, ignore):
        way = {(0, 1): "right", (0, -1): "left", (1, 0): "down", (-1, 0): "up"}[
            int(np.sign(slip.rows)), int(np.sign(slip.columns))
        ]
        where = f"row {slip.row}, column {slip.column}: the edge lies {slip.shift} pixels {way}"
        findings.append(Finding(image, SLIP, slip.box, slip.classes, where))
    return findings


def region_findings(image: int, mask: NDArray[Any], ignore: int | None = None) -> list[Finding]:
    """Holes and specks, and a mask of a single class.

    A hole is a region of the background or the ignored label, of at most HOLE_SHARE of the picture, that
    touches no side of it: other classes enclose it. A speck is a region of a class of at most SPECK_SHARE of
    the picture, and of at most SPECK_OF_MAIN of the class's largest region. One pixel may always be one.
    """
    unlabelled = mask == BACKGROUND
    if ignore is not None:
        unlabelled |= mask == ignore
    regions = connected_regions(np.where(unlabelled, BACKGROUND, mask))
    most = max(1, int(mask.size * HOLE_SHARE))
    holes = (regions.labels == BACKGROUND) & regions.inner & (regions.pixels <= most)
    specks = _specks(regions, max(1, int(mask.size * SPECK_SHARE)))
    findings = [_of_region(image, HOLE, regions, region) for region in np.flatnonzero(holes).tolist()]
    findings += [_of_region(image, SPECK, regions, region) for region in np.flatnonzero(specks).tolist()]
    labels = np.unique(mask if ignore is None else mask[mask != ignore])
    if len(labels) <= 1:
        findings.append(Finding(image, SINGLE, None, tuple(int(label) for label in labels)))
    return findings


def _specks(regions: Regions, most: int) -> NDArray[np.bool_]:
    """(R,): whether a region is a speck."""
    labels = regions.labels.astype(np.int64)
    largest = np.zeros(labels.max(initial=0) + 1, np.int64)
    np.maximum.at(largest, labels, regions.pixels)
    specks: NDArray[np.bool_] = (
        (labels != BACKGROUND)
        & (regions.pixels <= most)
        & (regions.pixels <= SPECK_OF_MAIN * largest[labels])
    )
    return specks


def _of_region(image: int, kind: str, regions: Regions, region: int) -> Finding:
    top, left, bottom, right = (int(side) for side in regions.boxes[region])
    classes = (int(regions.labels[region]),) if kind == SPECK else ()
    detail = f"row {top}, column {left}: {count(int(regions.pixels[region]), 'pixel')}"
    return Finding(image, kind, (top, left, bottom, right), classes, detail)
