"""Masks of COCO files, as COCO defines them and CVAT, Label Studio and Roboflow export them.

``annotations`` have, beside what ``coco_tables`` reads, a ``segmentation``: polygons [[x, y, x, y, ...],
...], of which a pixel may lie in any, or a run-length code {"counts", "size": [h, w]}. ``iscrowd``, ``area``,
``bbox`` and ``attributes`` mean nothing here. An image without any annotation counts as not annotated:
exports list every image of a task.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError, count
from pipeline.inputs.annotations.classes.label_map import SourceLabel
from pipeline.inputs.annotations.formats.coco_tables import CocoFile, read_coco
from pipeline.inputs.annotations.formats.json_file import describe
from pipeline.inputs.annotations.formats.mask_files import MaskFile
from pipeline.inputs.annotations.formats.source import (
    OUTSIDE,
    AnnotationSource,
    check_size,
    few,
    label_text,
)
from pipeline.inputs.annotations.raster import shapes as draw


def open_coco(path: Path, overlap: str) -> AnnotationSource:
    """The annotations of a COCO file. Raises UsageError, one line, naming the entry that is wrong."""
    file = read_coco(path)
    images, labels = file.images, _categories(path, file.categories)
    _check_annotated(path, file)
    by_image: dict[int, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    for where, entry in file.annotations:
        by_image[entry["image_id"]].append((where, entry))
    values = {number: value for value, number in enumerate(labels, start=1)}
    by_number = {images[key].number: (key, images[key], by_image[key]) for key in by_image}
    bare = [image.file_name for key, image in images.items() if key not in by_image]
    sliver = _without_area(by_image.values())

    def read(number: int) -> MaskFile:
        _, image, entries = by_number[number]
        where = f"{path}: {image.file_name}"
        size = check_size(image.entry.get("height"), image.entry.get("width"), where)
        ordered = draw.in_order(entries, overlap)
        drawn = (
            (values[e["category_id"]], _inside(e, size, f"{w} of {image.file_name}")) for w, e in ordered
        )
        return MaskFile(draw.paint(drawn, size), None)

    return AnnotationSource(
        path,
        "coco",
        {number: f"{image.file_name} (id {key})" for number, (key, image, _) in by_number.items()},
        read,
        (OUTSIDE, *labels.values()),
        f"images without any annotation: {few(bare)}" if bare else None,
        (f"{path}: left out {count(sliver, 'polygon')} of fewer than 3 points",) if sliver else (),
    )


def _check_annotated(path: Path, file: CocoFile) -> None:
    """Raise UsageError where no image is annotated, or with keypoints alone."""
    entries = [entry for _, entry in file.annotations]
    if not entries:
        names = [image.file_name for image in file.images.values()]
        shown = f": {few(names)}" if names else ": there are no images"
        raise UsageError(
            f"{path}: none of its {len(names)} images is annotated ('annotations' is empty); expected "
            f"polygons or run-length codes; images without any annotation{shown}"
        )
    if any(entry.get("keypoints") for entry in entries) and not any(e.get("segmentation") for e in entries):
        raise UsageError(
            f"{path}: its annotations have keypoints and no segmentation; expected polygons or run-length "
            "codes: these are keypoints: pass --task keypoints"
        )


def _categories(path: Path, entries: Mapping[int, dict[str, Any]]) -> dict[int, SourceLabel]:
    """Category id -> label, in the order of the ids."""
    if len(entries) > 65535:
        raise UsageError(f"{path}: has {len(entries)} categories; expected at most 65535")
    return {
        key: SourceLabel(key, (label_text(entry.get("name"), f"{path}: category {key}: name"),))
        for key, entry in sorted(entries.items())
    }


def _inside(entry: dict[str, Any], size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    shape = entry.get("segmentation")
    if isinstance(shape, dict):
        if shape.get("size") != list(size):
            raise UsageError(
                f"{where}: its code's size is {describe(shape.get('size'))} {shape.get('size')!r:.40}; "
                f"expected the image's, {list(size)}"
            )
        return draw.run_lengths(shape.get("counts"), size, where)
    if not isinstance(shape, list) or not shape:
        has_box = " but a box" if entry.get("bbox") else ""
        raise UsageError(f"{where}: has no segmentation{has_box}; expected polygons or a run-length code")
    inside = np.zeros(size, np.bool_)
    for part in shape:
        points = draw.points_of(part, size, f"{where}: a polygon")
        if len(points) >= 3:
            inside |= draw.polygon(points, size)
    return inside


def _without_area(entries: Any) -> int:
    """Polygons of fewer than three points, counted."""
    shapes = [entry.get("segmentation") for image in entries for _, entry in image]
    parts = [part for shape in shapes if isinstance(shape, list) for part in shape]
    return sum(isinstance(part, list) and len(part) < 6 for part in parts)
