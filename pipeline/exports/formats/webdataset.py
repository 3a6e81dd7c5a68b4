"""Format ``webdataset``: shards, plain tar files that training reads from front to back.

    dataset-000000.tar      with --split: train-000000.tar, ...
      000012.png            (H, W, 3); .jpg with --image-encoding jpeg
      000012.seg.png        (H, W) class ids, grey
      000012.json           number, uncertainty, kept, keypoints
    dataset-index.json      the shards and how many images each has, as ``wids`` reads it
    sizes.json              the same numbers of all splits, as open_clip reads them
    classes.toml            the classes in the order of their labels

Labels have no palette here, of which the library's decoders of images would make colours. They make three
equal channels of labels of one byte; a handler of ``seg.png`` that opens them with pillow gives all labels as
they are. Of keypoints there is no ``.seg.png``. A shard is one part:
images go into it one by one, and nothing in it tells when or by whom it was written.
"""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipeline.exports.class_lists import classes_toml
from pipeline.exports.content import Item
from pipeline.exports.encoding import SUFFIXES, encode_image, encode_png
from pipeline.exports.formats.protocol import ExportInfo, Record
from pipeline.exports.plan import Part
from pipeline.exports.records import base_record
from pipeline.exports.sink import Sink
from pipeline.settings.json_values import json_text

SHARD_BYTES = 256 * 10**6  # of the images uncompressed: a shard is smaller
MOST_IMAGES, FEWEST_IMAGES = 1000, 16
FEWEST_SHARDS = 8  # of an export that is large enough, so that several workers can read and write
ONE_SPLIT = "dataset"


class WebDatasetExporter:
    """Writes the format ``webdataset``."""

    def __init__(self, info: ExportInfo) -> None:
        self._info = info
        self._sizes: dict[str, int] = {}
        self.part_images = shard_images(info.shape, sum(info.splits.values()))

    def write_part(self, part: Part, items: Iterator[Item], sink: Sink) -> Iterable[Record]:
        """One shard."""
        name = f"{part.split or ONE_SPLIT}-{part.number:06d}.tar"
        num_images = 0
        with (
            sink.open(name) as file,
            tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            for item in items:
                for suffix, content in self._members(item):
                    _add(tar, f"{item.number:06d}{suffix}", content)
                num_images += 1
        return [{"shard": name}] * num_images

    def _members(self, item: Item) -> Iterator[tuple[str, bytes]]:
        """Suffix and content of each file of an image."""
        yield SUFFIXES[self._info.image_encoding], encode_image(item.image, self._info)
        if item.labels is not None:
            yield ".seg.png", encode_png(item.labels)
        yield ".json", _json(base_record(item))

    def write_whole(self, split: str | None, records: Iterable[Record], sink: Sink) -> None:
        """The index of a split."""
        sizes = Counter(record["shard"] for record in records)
        self._sizes |= sizes
        shards = [{"url": name, "nsamples": size} for name, size in sizes.items()]
        index = {"wids_version": 1, "name": self._info.source["store"], "shardlist": shards}
        sink.write(f"{split or ONE_SPLIT}-index.json", _json(index))

    def write_last(self, sink: Sink) -> None:
        """``sizes.json`` and ``classes.toml``."""
        sink.write("sizes.json", _json(self._sizes))
        sink.write("classes.toml", classes_toml(self._info.classes, self._info.ignore).encode())


def open_exporter(info: ExportInfo) -> WebDatasetExporter:
    """The exporter; the format holds labels and keypoints alike."""
    return WebDatasetExporter(info)


def shard_images(shape: tuple[int, int], num_images: int) -> int:
    """How many images of (H, W) a shard of ``num_images`` in all has."""
    by_bytes = max(1, SHARD_BYTES // (3 * shape[0] * shape[1]))
    by_number = max(FEWEST_IMAGES, -(-num_images // FEWEST_SHARDS))
    return min(by_bytes, by_number, MOST_IMAGES)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """A member without time and owner, so that equal images are equal bytes."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _json(value: Mapping[str, Any]) -> bytes:
    return json_text(value).encode()
