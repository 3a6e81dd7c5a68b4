"""COCO files, one JSON for all images, as COCO defines them and CVAT, Label Studio and Roboflow export them.

``images`` have ``id``, ``file_name``, ``height``, ``width``; ``categories`` ``id`` and ``name``, and of some
programs a ``color``; ``annotations`` ``image_id`` and ``category_id``, and ``segmentation``: polygons
[[x, y, x, y, ...], ...], of which a pixel may lie in any, or a run-length code {"counts", "size": [h, w]}.
The image's number is that in its file name. ``iscrowd``, ``area``, ``bbox`` and ``attributes`` mean nothing
here. An image without any annotation counts as not annotated: exports list every image of a task.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError, count, few
from pipeline.inputs.annotations.formats.coco_categories import classes_of, has_colors, labels_of
from pipeline.inputs.annotations.json_file import describe, objects, read_json
from pipeline.inputs.annotations.raster import shapes as draw
from pipeline.inputs.annotations.source import (
    OUTSIDE,
    AnnotationSource,
    MaskFile,
    check_size,
)
from pipeline.inputs.numbers import listed_number

WHAT = "a COCO file"
_KEYS = ("images", "annotations", "categories")
_TITLES = {"images": "file_name", "categories": "name"}


@dataclass(frozen=True)
class CocoImage:
    """An entry of ``images``: its ``file_name``, the number in that name, and the whole ``entry``.

    An image without annotations may lack height and width.
    """

    file_name: str
    number: int
    entry: dict[str, Any]


@dataclass(frozen=True)
class CocoFile:
    """images, categories: by id, in the file's order. annotations: the entries, each with its name for
    messages; their ``image_id`` and ``category_id`` are keys of the others.
    """

    images: Mapping[int, CocoImage]
    categories: Mapping[int, dict[str, Any]]
    annotations: tuple[tuple[str, dict[str, Any]], ...]


def is_coco(value: Any) -> bool:
    """Whether a JSON value looks like a COCO file."""
    return isinstance(value, dict) and "images" in value and "annotations" in value


def read_coco(path: Path, what: str = WHAT) -> CocoFile:
    """The tables of the file; ``what`` names it in messages. Raises UsageError, one line, naming the entry
    that is wrong.
    """
    document = read_json(path, what)
    if not is_coco(document) or "categories" not in document:
        raise UsageError(f"{path}: is {describe(document)} without {', '.join(_KEYS)}; expected {what}")
    images = images_of(path, by_id(path, "images", document["images"]))
    categories = by_id(path, "categories", document["categories"])
    annotations = []
    for index, entry in enumerate(objects(document["annotations"], f"{path}: annotations")):
        where = f"{path}: annotation {describe(entry.get('id', f'number {index}'))}"
        if "segments_info" in entry:
            raise UsageError(
                f"{where}: has segments_info, as COCO's panoptic JSON; expected {what}, not all of one file"
            )
        check_known(entry, "image_id", images, where)
        check_known(entry, "category_id", categories, where)
        annotations.append((where, entry))
    return CocoFile(images, categories, tuple(annotations))


def by_id(path: Path, table: str, entries: Any) -> dict[int, dict[str, Any]]:
    """The entries of a table of the file by their ids. Raises UsageError naming an entry that is wrong."""
    found: dict[int, dict[str, Any]] = {}
    for index, entry in enumerate(objects(entries, f"{path}: {table}")):
        where = f"{path}: {table} number {index}"
        key = _id(entry, "id", where)
        if key in found:
            other = found[key].get(_TITLES[table])
            raise UsageError(f"{where}: its id, {key}, is that of {describe(other)} too; expected another")
        found[key] = entry
    return found


def images_of(path: Path, entries: Mapping[int, dict[str, Any]]) -> dict[int, CocoImage]:
    """The images by their ids. Raises UsageError for a name without a number, and two images of one."""
    images: dict[int, CocoImage] = {}
    by_number: dict[int, str] = {}
    for index, (key, entry) in enumerate(entries.items()):
        where, name = f"{path}: images number {index}", entry.get("file_name")
        if not isinstance(name, str) or not name.isprintable():
            raise UsageError(f"{where}: file_name is {describe(name)}; expected the picture's name")
        number = listed_number(name)
        if number is None:
            raise UsageError(
                f"{where}: file_name {name!r:.80} has no number; expected that of the image, as image_3.png"
            )
        if number in by_number:
            raise UsageError(
                f"{path}: {by_number[number]!r:.80} and {name!r:.80} are both image {number}, by the name; "
                "rename one"
            )
        images[key], by_number[number] = CocoImage(name, number, entry), name
    return images


def _id(entry: dict[str, Any], key: str, where: str) -> int:
    value = entry.get(key)
    if type(value) is not int:
        raise UsageError(f"{where}: {key} is {describe(value)}; expected an integer")
    return value


def check_known(entry: dict[str, Any], key: str, known: Mapping[int, object], where: str) -> None:
    """Raise UsageError unless the entry's ``key`` is an integer and one of the ``known`` ids."""
    value = _id(entry, key, where)
    if value not in known:
        raise UsageError(
            f"{where}: {key} is {value}, which the file's {_KEYS[0 if key == 'image_id' else 2]} lack"
        )


def open_coco(path: Path, overlap: str) -> AnnotationSource:
    """The annotations of a COCO file. Raises UsageError, one line, naming the entry that is wrong."""
    file = read_coco(path)
    images, labels = file.images, labels_of(path, file.categories)
    _check_annotated(path, file)
    by_image: dict[int, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    for where, entry in file.annotations:
        by_image[entry["image_id"]].append((where, entry))
    values = {number: value for value, number in enumerate(labels, start=1)}
    by_number = {images[key].number: (key, images[key], by_image[key]) for key in by_image}
    bare = [image.file_name for key, image in images.items() if key not in by_image]
    sliver = _without_area(by_image.values())
    classes = classes_of(file.categories, labels) if has_colors(file.categories) else ()

    def read(number: int) -> MaskFile:
        _, image, entries = by_number[number]
        where = f"{path}: {image.file_name}"
        size = check_size(image.entry.get("height"), image.entry.get("width"), where)
        ordered = draw.in_order(entries, overlap)
        drawn = (
            (values[e["category_id"]], _inside(e, size, f"{w} of {image.file_name}")) for w, e in ordered
        )
        return MaskFile(draw.paint(drawn, size))

    return AnnotationSource(
        path,
        "coco",
        {number: f"{image.file_name} (id {key})" for number, (key, image, _) in by_number.items()},
        read,
        (OUTSIDE, *labels.values()),
        f"images without any annotation: {few(bare)}" if bare else None,
        (f"{path}: left out {count(sliver, 'polygon')} of fewer than 3 points",) if sliver else (),
        classes=classes,
        classes_from=path if classes else None,
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
