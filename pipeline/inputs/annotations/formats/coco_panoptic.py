"""COCO's panoptic files: a JSON of segments, and a PNG an image whose colours are the segments' ids.

``annotations`` have ``image_id``, ``file_name`` of the PNG, and ``segments_info``, a list of segments with
``id`` and ``category_id``. A pixel's id is red + 256 green + 65536 blue; 0 is of no segment, and counts
nowhere. The PNGs lie in a folder of the JSON's name, beside it or beside its folder.

The classes are the categories in the order of their ids. A file that has neither a category 0 nor one called
background gets a background in front, which no pixel has.

``isthing``, ``iscrowd``, ``area`` and ``bbox`` mean nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError, few
from pipeline.inputs.annotations.formats.coco import by_id, check_known, images_of, is_coco
from pipeline.inputs.annotations.formats.coco_categories import classes_of, labels_of
from pipeline.inputs.annotations.json_file import describe, objects, read_json
from pipeline.inputs.annotations.raster.png import load_png
from pipeline.inputs.annotations.source import AnnotationSource, MaskFile, SourceLabel
from pipeline.settings.classes import IGNORE_NAME

WHAT = "a panoptic COCO file"
VOID = 0


def is_panoptic(value: Any) -> bool:
    """Whether a JSON value looks like a panoptic COCO file."""
    if not is_coco(value) or not isinstance(value["annotations"], list) or not value["annotations"]:
        return False
    first = value["annotations"][0]
    return isinstance(first, dict) and "segments_info" in first


def segment_folder(path: Path) -> Path | None:
    """The folder of the PNGs of a panoptic JSON, or None."""
    beside = [path.with_suffix(""), path.parent.parent / path.stem]
    return next((folder for folder in beside if folder.is_dir()), None)


def open_panoptic(path: Path) -> AnnotationSource:
    """The annotations of a panoptic file. Raises UsageError, one line, naming the entry that is wrong."""
    document = read_json(path, WHAT)
    folder = segment_folder(path)
    if folder is None:
        raise UsageError(
            f"{path}: the PNGs of its segments are not found; expected them in {path.with_suffix('')}"
        )
    images = images_of(path, by_id(path, "images", document["images"]))
    categories = by_id(path, "categories", document.get("categories"))
    labels = labels_of(path, categories)
    values = {key: value for value, key in enumerate(labels)}
    entries: dict[int, tuple[Path, dict[int, int]]] = {}
    keys: dict[int, int] = {}
    for where, entry in _entries(path, document["annotations"]):
        check_known(entry, "image_id", images, where)
        number = images[entry["image_id"]].number
        if number in entries:
            raise UsageError(f"{where}: image {number} has another; expected one an image")
        keys[number] = entry["image_id"]
        segments = _segments(entry, values, where)
        entries[number] = (folder / _png_name(entry, where), segments)
    ignored = SourceLabel(None, (IGNORE_NAME,))

    def read(number: int) -> MaskFile:
        file, segments = entries[number]
        return MaskFile(_values_in(file, {**segments, VOID: len(labels)}))

    bare = [image.file_name for key, image in images.items() if key not in set(keys.values())]
    return AnnotationSource(
        path,
        "coco",
        {number: f"{images[key].file_name} (id {key})" for number, key in keys.items()},
        read,
        (*labels.values(), ignored),
        f"images without any annotation: {few(bare)}" if bare else None,
        classes=classes_of(categories, labels, add_background=0 not in labels),
        classes_from=path,
    )


def _entries(path: Path, annotations: Any) -> list[tuple[str, dict[str, Any]]]:
    """Each annotation with its name for messages."""
    return [
        (f"{path}: annotation number {index}", entry)
        for index, entry in enumerate(objects(annotations, f"{path}: annotations"))
    ]


def _png_name(entry: Mapping[str, Any], where: str) -> str:
    name = entry.get("file_name")
    if not isinstance(name, str) or not name.isprintable() or Path(name).name != name:
        raise UsageError(f"{where}: file_name is {describe(name)}; expected the name of its PNG")
    return name


def _segments(entry: Mapping[str, Any], values: Mapping[int, int], where: str) -> dict[int, int]:
    """Segment id -> the value of its category."""
    segments: dict[int, int] = {}
    for segment in objects(entry.get("segments_info"), f"{where}: segments_info"):
        check_known(segment, "category_id", values, where)
        number = segment.get("id")
        if type(number) is not int or not VOID < number < 2**24 or number in segments:
            raise UsageError(
                f"{where}: a segment's id is {describe(number)}; expected a colour's number, another for each"
            )
        segments[number] = values[segment["category_id"]]
    return segments


def _values_in(file: Path, segments: Mapping[int, int]) -> NDArray[np.uint16]:
    """(h, w): the value of each pixel's segment."""
    image = load_png(file, "a PNG of segments")
    if image.mode not in ("RGB", "RGBA"):
        raise UsageError(f"{file}: the PNG's mode is {image.mode}; expected RGB, whose colours are segments")
    colors = np.array(image)[..., :3].astype(np.int64)  # [h, w, rgb]
    found, places = np.unique(colors @ np.array([1, 256, 65536]), return_inverse=True)
    unknown = [number for number in found.tolist() if number not in segments]
    if unknown:
        raise UsageError(
            f"{file}: has segments that the JSON's segments_info lack: {few([str(n) for n in unknown])}"
        )
    table = np.array([segments[number] for number in found.tolist()], np.uint16)
    return np.asarray(table[places].reshape(colors.shape[:2]))
