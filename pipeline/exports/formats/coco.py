"""Format ``coco``: COCO's JSON of instances and of panoptic segments, or of keypoints.

    images/000012.png                       (H, W, 3); .jpg with --image-encoding jpeg
    annotations/instances.json              a run-length code for each class of each image
    annotations/panoptic.json               segments of images, whose pixels lie in
    panoptic/000012.png                     (H, W, 3): a segment's id is red + 256 green + 65536 blue
    annotations/person_keypoints.json       of a store of keypoints, in place of the three before

With ``--split`` the names of the last four end in ``_train`` and so on, before the suffix; images/ holds all.
An image's id is its number, and a category's id is its class's label. ``images`` have ``uncertainty`` and
``kept`` besides, where the store has them, and categories their ``color``.

Labels do not tell instances apart: all pixels of a class in an image are one annotation and one segment,
however many parts they have. The first class, if it is called background, is no category of instances. In
the panoptic file it is a category that is no thing, and a pixel of no class belongs to no segment, by which
COCO's own scores leave it out. instances.json has no word for such a pixel: there it lies outside of
everything, as background does. So of the two panoptic.json holds the labels exactly.

Keypoints are x, y in pixels with the upper left corner of the image at (0, 0), and visibility 2; a point
without a place, or of no confidence, is 0, 0, 0. ``confidence`` besides has that of each point. The box
encloses the points. The one category is ``object``, with the points' names and an empty skeleton.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pipeline.exports.coco_tables import (
    categories,
    colors_of_segments,
    keypoint_category,
    keypoint_entry,
    segments_of,
)
from pipeline.exports.content import Item
from pipeline.exports.encoding import SUFFIXES, encode_image, encode_png
from pipeline.exports.formats.protocol import ExportInfo, Record
from pipeline.exports.json_tables import write_tables
from pipeline.exports.plan import Part
from pipeline.exports.records import base_record
from pipeline.exports.sink import Sink

PART_IMAGES = 16


class CocoExporter:
    """Writes the format ``coco``."""

    part_images = PART_IMAGES

    def __init__(self, info: ExportInfo) -> None:
        self._info = info
        self._colors = colors_of_segments(info)
        self._things = {entry["id"] for entry in categories(info) if entry["isthing"]}

    def write_part(self, part: Part, items: Iterator[Item], sink: Sink) -> Iterable[Record]:
        """The pictures of a part, and its panoptic PNGs."""
        return [self._write(part.split, item, sink) for item in items]

    def _write(self, split: str | None, item: Item, sink: Sink) -> Record:
        name = f"{item.number:06d}"
        picture = name + SUFFIXES[self._info.image_encoding]
        sink.write(f"images/{picture}", encode_image(item.image, self._info))
        height, width = item.image.shape[:2]
        base = base_record(item)
        keypoints = base.pop("keypoints", None)
        image = {"id": base.pop("number"), "file_name": picture, "width": width, "height": height, **base}
        if item.labels is None:
            return {"image": image, "keypoints": keypoint_entry(keypoints or [])}
        segments, pixels = segments_of(item.labels, self._colors, self._things)
        sink.write(f"{_named('panoptic', split)}/{name}.png", encode_png(pixels))
        return {"image": image, "segments": segments, "panoptic": f"{name}.png"}

    def write_whole(self, split: str | None, records: Iterable[Record], sink: Sink) -> None:
        """The JSON files of a split, an entry at a time."""
        head: dict[str, Any] = {"info": self._about(), "licenses": []}
        images = (record["image"] for record in records)
        if self._info.keypoint_names is not None:
            head["categories"] = [keypoint_category(self._info.keypoint_names)]
            with sink.open(f"annotations/{_named('person_keypoints', split)}.json") as file:
                write_tables(file, head, {"images": images, "annotations": _keypoints(records)})
            return
        found = categories(self._info)
        things = [_without(entry, "isthing") for entry in found if entry["isthing"]]
        with sink.open(f"annotations/{_named('instances', split)}.json") as file:
            tables = {"images": images, "annotations": _instances(records)}
            write_tables(file, head | {"categories": things}, tables)
        with sink.open(f"annotations/{_named('panoptic', split)}.json") as file:
            images = (record["image"] for record in records)
            tables = {"images": images, "annotations": _panoptic(records)}
            write_tables(file, head | {"categories": found}, tables)

    def write_last(self, sink: Sink) -> None:
        """Nothing: every file names its classes."""

    def _about(self) -> dict[str, Any]:
        source = dict(self._info.source)
        return {"description": f"{source['store']}, exported by dgan", "version": "1", "source": source}


def open_exporter(info: ExportInfo) -> CocoExporter:
    """The exporter; the format holds labels and keypoints alike."""
    return CocoExporter(info)


def _without(entry: Record, key: str) -> Record:
    return {name: value for name, value in entry.items() if name != key}


def _named(name: str, split: str | None) -> str:
    return name if split is None else f"{name}_{split}"


def _instances(records: Iterable[Record]) -> Iterator[Record]:
    """Annotations of instances, with ids from 1: pycocotools' scores take 0 as none."""
    number = 0
    for record in records:
        for segment in record["segments"]:
            if "segmentation" in segment:
                number += 1
                yield {"id": number, "image_id": record["image"]["id"], **_without(segment, "id")}


def _panoptic(records: Iterable[Record]) -> Iterator[Record]:
    for record in records:
        segments = [_without(segment, "segmentation") for segment in record["segments"]]
        yield {
            "image_id": record["image"]["id"],
            "file_name": record["panoptic"],
            "segments_info": segments,
        }


def _keypoints(records: Iterable[Record]) -> Iterator[Record]:
    for number, record in enumerate(records, start=1):
        yield {"id": number, "image_id": record["image"]["id"], **record["keypoints"]}
