"""Format ``voc``: the layout of Pascal VOC.

    JPEGImages/000012.jpg           (H, W, 3); .png with --image-encoding png
    SegmentationClass/000012.png    (H, W) class ids as palette indices; 255 where a pixel is of no class
    ImageSets/Segmentation/         train.txt and so on, as --split has them, else trainval.txt: a name a line
    labelmap.txt                    a line name:r,g,b:: for each class, in the order of their labels

The palette of a mask and labelmap.txt have the same colours. Programs of the VOC data set read indices, CVAT
and Datumaro read colours: so two classes never share one, nor does a class have that of no class, (224, 224,
192), which labelmap.txt has as ``ignored`` where the store has such a label. A class that would is given
another colour.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline.errors import UsageError, count
from pipeline.exports.class_lists import with_distinct_colors
from pipeline.exports.content import Item
from pipeline.exports.encoding import (
    IGNORE_COLOR,
    SUFFIXES,
    encode_image,
    encode_labels,
    label_palette,
    one_byte,
)
from pipeline.exports.formats.protocol import ExportInfo, Record
from pipeline.exports.plan import Part
from pipeline.exports.sink import Sink

PART_IMAGES = 16
VOID = 255
UNNAMED_SPLIT = "trainval"


class VocExporter:
    """Writes the format ``voc``."""

    part_images = PART_IMAGES

    def __init__(self, info: ExportInfo) -> None:
        self._info = info
        self._classes = with_distinct_colors(info.classes, [_hexadecimal(IGNORE_COLOR)])
        self._palette = label_palette(self._classes, VOID)

    def write_part(self, part: Part, items: Iterator[Item], sink: Sink) -> Iterable[Record]:
        """The pictures and masks of a part."""
        return [self._write(item, sink) for item in items]

    def _write(self, item: Item, sink: Sink) -> Record:
        name = f"{item.number:06d}"
        suffix = SUFFIXES[self._info.image_encoding]
        sink.write(f"JPEGImages/{name}{suffix}", encode_image(item.image, self._info))
        assert item.labels is not None
        labels = one_byte(item.labels, self._info.ignore)
        sink.write(f"SegmentationClass/{name}.png", encode_labels(labels, self._palette))
        return {"name": name}

    def write_whole(self, split: str | None, records: Iterable[Record], sink: Sink) -> None:
        """The split's list of names."""
        with sink.open(f"ImageSets/Segmentation/{split or UNNAMED_SPLIT}.txt") as file:
            for record in records:
                file.write(f"{record['name']}\n".encode())

    def write_last(self, sink: Sink) -> None:
        """``labelmap.txt``."""
        lines = ["# label:color_rgb:parts:actions"]
        colors = [(entry.name, tuple(bytes.fromhex(entry.color[1:]))) for entry in self._classes]
        if self._info.ignore is not None:
            taken = {entry.name.casefold() for entry in self._classes}
            colors.append(("void" if "ignored" in taken else "ignored", IGNORE_COLOR))
        lines += [f"{name}:{red},{green},{blue}::" for name, (red, green, blue) in colors]
        sink.write("labelmap.txt", "".join(f"{line}\n" for line in lines).encode())


def open_exporter(info: ExportInfo) -> VocExporter:
    """The exporter. Raises UsageError for keypoints, for more classes than a palette has beside 255, and for
    a name that a line of labelmap.txt cannot hold.
    """
    if info.keypoint_names is not None:
        raise UsageError("--format voc holds masks, and the store has keypoints; use coco, png or parquet")
    if len(info.classes) > VOID:
        raise UsageError(
            f"--format voc holds labels 0 to {VOID - 1}, and there are {count(len(info.classes), 'class')}; "
            "merge some with --label-map, or use coco or png"
        )
    for entry in info.classes:
        name = entry.name
        if ":" in name or name.startswith("#") or name != name.strip() or not name.isprintable():
            raise UsageError(
                f"--format voc: class {name!r} cannot stand in labelmap.txt, whose names have no colon, no # "
                "in front and no space around them; rename it with --label-map"
            )
    return VocExporter(info)


def _hexadecimal(color: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
