"""Entries of COCO's tables: categories, segments of an image, keypoints.

It knows labels and points. It knows no files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from pipeline.exports.class_lists import with_distinct_colors
from pipeline.exports.formats.protocol import ExportInfo
from pipeline.settings.classes import BACKGROUND_NAMES

NO_SEGMENT = "#000000"  # the id 0 of pixels that belong to no segment
VISIBLE = 2
Entry = dict[str, Any]


def categories(info: ExportInfo) -> list[Entry]:
    """An entry a class, of which ``isthing`` 1 are those of instances: all but a first class called
    background.
    """
    return [
        {
            "id": entry.id,
            "name": entry.name,
            "supercategory": "",
            "isthing": int(entry.id > 0 or entry.name.casefold() not in BACKGROUND_NAMES),
            "color": list(bytes.fromhex(entry.color[1:])),
        }
        for entry in info.classes
    ]


def keypoint_category(names: Sequence[str]) -> Entry:
    """The one category of instances with keypoints of these names."""
    return {"id": 1, "name": "object", "supercategory": "", "keypoints": list(names), "skeleton": []}


def colors_of_segments(info: ExportInfo) -> dict[int, tuple[int, int, int]]:
    """Label -> red, green and blue in panoptic PNGs: the class's colour where no other has it, never
    black.
    """
    distinct = with_distinct_colors(info.classes, [NO_SEGMENT])
    return {entry.id: tuple(bytes.fromhex(entry.color[1:])) for entry in distinct}  # type: ignore[misc]


def segments_of(
    labels: np.ndarray, colors: Mapping[int, tuple[int, int, int]], things: set[int]
) -> tuple[list[Entry], np.ndarray]:
    """A segment for each label of (H, W) that has a colour, and the panoptic PNG's pixels, (H, W, 3) uint8.

    ``segmentation``, the run-length code, is there of labels in ``things`` alone.
    """
    pixels = np.zeros((*labels.shape, 3), np.uint8)
    columns = np.asfortranarray(labels)  # run-length codes go down the columns
    segments = []
    for label in np.unique(labels).tolist():
        if label not in colors:
            continue
        inside = columns == label
        pixels[inside] = colors[label]
        red, green, blue = colors[label]
        code = coco_mask.encode(inside.view(np.uint8))
        entry: Entry = {
            "id": red + 256 * green + 65536 * blue,
            "category_id": label,
            "area": int(coco_mask.area(code)),
            "bbox": coco_mask.toBbox(code).tolist(),
            "iscrowd": 0,
        }
        if label in things:
            entry["segmentation"] = {"size": list(labels.shape), "counts": code["counts"].decode("ascii")}
        segments.append(entry)
    return segments, pixels


def keypoint_entry(points: Sequence[Sequence[float | None]]) -> Entry:
    """An instance with K keypoints [x, y, confidence], of which a value is None where it is not finite."""
    flat: list[float] = []
    placed: list[tuple[float, float]] = []
    for x, y, confidence in points:
        if x is None or y is None or not confidence or confidence < 0:
            flat += [0, 0, 0]
            continue
        flat += [x, y, VISIBLE]
        placed.append((x, y))
    left, top = (min(axis) for axis in zip(*placed, strict=True)) if placed else (0.0, 0.0)
    right, bottom = (max(axis) for axis in zip(*placed, strict=True)) if placed else (0.0, 0.0)
    return {
        "category_id": 1,
        "keypoints": flat,
        "num_keypoints": len(placed),
        "confidence": [point[2] for point in points],
        "bbox": [left, top, right - left, bottom - top],
        "area": (right - left) * (bottom - top),
        "iscrowd": 0,
    }
