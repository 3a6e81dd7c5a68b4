"""Format ``png``: a picture and an index PNG of labels an image, and ``metadata.jsonl``.

    images/000012.png       (H, W, 3); .jpg with --image-encoding jpeg
    labels/000012.png       (H, W) class ids, with the classes' colours as palette
    metadata.jsonl          a line an image: file_name, label_file_name, number, uncertainty, kept, keypoints
    classes.toml            the classes in the order of their labels

With ``--split`` the first three lie in a folder of the split's name. The folder is an image folder of Hugging
Face's ``datasets``, which reads both columns of names as images. Of keypoints there are no labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline.exports.class_lists import classes_toml
from pipeline.exports.content import Item
from pipeline.exports.encoding import SUFFIXES, encode_image, encode_labels, label_palette
from pipeline.exports.formats.protocol import ExportInfo, Record
from pipeline.exports.plan import Part
from pipeline.exports.records import base_record
from pipeline.exports.sink import Sink
from pipeline.settings.json_values import json_text

PART_IMAGES = 16


class PngExporter:
    """Writes the format ``png``."""

    part_images = PART_IMAGES

    def __init__(self, info: ExportInfo) -> None:
        self._info = info
        self._palette = label_palette(info.classes, info.ignore)

    def write_part(self, part: Part, items: Iterator[Item], sink: Sink) -> Iterable[Record]:
        """The pictures and labels of a part."""
        return [self._write(part.split, item, sink) for item in items]

    def _write(self, split: str | None, item: Item, sink: Sink) -> Record:
        name = f"images/{item.number:06d}{SUFFIXES[self._info.image_encoding]}"
        sink.write(_under(split, name), encode_image(item.image, self._info))
        record: Record = {"file_name": name}
        if item.labels is not None:
            record["label_file_name"] = f"labels/{item.number:06d}.png"
            sink.write(_under(split, record["label_file_name"]), encode_labels(item.labels, self._palette))
        return record | base_record(item)

    def write_whole(self, split: str | None, records: Iterable[Record], sink: Sink) -> None:
        """``metadata.jsonl``, a line at a time."""
        with sink.open(_under(split, "metadata.jsonl")) as file:
            for record in records:
                file.write(json_text(record).encode())

    def write_last(self, sink: Sink) -> None:
        """``classes.toml``."""
        sink.write("classes.toml", classes_toml(self._info.classes, self._info.ignore).encode())


def open_exporter(info: ExportInfo) -> PngExporter:
    """The exporter; the format holds labels and keypoints alike."""
    return PngExporter(info)


def _under(split: str | None, name: str) -> str:
    return name if split is None else f"{split}/{name}"
