"""COCO files: one JSON for all images, as COCO defines it and CVAT, Label Studio and Roboflow export it.

``images`` have ``id``, ``file_name``, ``height``, ``width``; ``categories`` ``id`` and ``name``;
``annotations`` ``image_id``, ``category_id`` and ``segmentation``: polygons [[x, y, x, y, ...], ...], of
which a pixel may lie in any, or a run-length code {"counts", "size": [h, w]}. An image's number is the last
integer of its file name. ``iscrowd``, ``area``, ``bbox`` and ``attributes`` mean nothing here. An image
without any annotation counts as not annotated: exports list every image of a task.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.annotation_files import shapes as draw
from pipeline.annotation_files.json_file import describe, objects, read_json
from pipeline.annotation_files.label_map import SourceLabel
from pipeline.annotation_files.mask_files import MaskFile
from pipeline.annotation_files.source import (
    OUTSIDE,
    AnnotationSource,
    check_size,
    few,
    image_number,
    label_text,
)
from pipeline.errors import UsageError

WHAT = "a COCO file"
_KEYS = ("images", "annotations", "categories")


@dataclass(frozen=True)
class _Image:
    file_name: str
    number: int
    entry: dict[str, Any]  # height and width of an image without annotations need not be there


def is_coco(value: Any) -> bool:
    """Whether a JSON value looks like a COCO file."""
    return isinstance(value, dict) and "images" in value and "annotations" in value


def open_coco(path: Path, overlap: str) -> AnnotationSource:
    """The annotations of a COCO file. Raises UsageError, one line, naming the entry that is wrong."""
    document = read_json(path, WHAT)
    if not is_coco(document) or "categories" not in document:
        raise UsageError(f"{path}: is {describe(document)} without {', '.join(_KEYS)}; expected {WHAT}")
    images = _images(path, document["images"])
    labels = _categories(path, document["categories"])
    by_image: dict[int, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    for index, entry in enumerate(objects(document["annotations"], f"{path}: annotations")):
        where = f"{path}: annotation {describe(entry.get('id', f'number {index}'))}"
        by_image[_known(entry, "image_id", images, where)].append((where, entry))
        _known(entry, "category_id", labels, where)
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
        (f"{path}: {sliver} polygons of fewer than 3 points were left out",) if sliver else (),
    )


def _images(path: Path, entries: Any) -> dict[int, _Image]:
    images: dict[int, _Image] = {}
    by_number: dict[int, str] = {}
    for index, entry in enumerate(objects(entries, f"{path}: images")):
        where = f"{path}: images number {index}"
        key, name = _id(entry, "id", where), entry.get("file_name")
        if not isinstance(name, str) or not name.isprintable():
            raise UsageError(f"{where}: file_name is {describe(name)}; expected the picture's name")
        number = image_number(name)
        if number is None:
            raise UsageError(
                f"{where}: file_name {name!r:.80} has no number; expected that of the image, as image_3.png"
            )
        if key in images:
            raise UsageError(
                f"{where}: its id, {key}, is that of {images[key].file_name!r:.80} too; expected another"
            )
        if number in by_number:
            raise UsageError(
                f"{path}: {by_number[number]!r:.80} and {name!r:.80} are both image {number}, the last "
                "integer of the name; rename one"
            )
        images[key], by_number[number] = _Image(name, number, entry), name
    return images


def _categories(path: Path, entries: Any) -> dict[int, SourceLabel]:
    """Category id -> label, in the order of the ids."""
    found: dict[int, SourceLabel] = {}
    for index, entry in enumerate(objects(entries, f"{path}: categories")):
        where = f"{path}: categories number {index}"
        key, name = _id(entry, "id", where), label_text(entry.get("name"), f"{where}: name")
        if key in found:
            raise UsageError(
                f"{where}: its id, {key}, is that of {found[key].names[0]!r:.60} too; expected another"
            )
        found[key] = SourceLabel(key, (name,))
    if len(found) > 65535:
        raise UsageError(f"{path}: has {len(found)} categories; expected at most 65535")
    return dict(sorted(found.items()))


def _id(entry: dict[str, Any], key: str, where: str) -> int:
    value = entry.get(key)
    if type(value) is not int:
        raise UsageError(f"{where}: {key} is {describe(value)}; expected an integer")
    return value


def _known(entry: dict[str, Any], key: str, known: Mapping[int, object], where: str) -> int:
    value = _id(entry, key, where)
    if value not in known:
        raise UsageError(
            f"{where}: {key} is {value}, which the file's {_KEYS[0 if key == 'image_id' else 2]} lack"
        )
    return value


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
