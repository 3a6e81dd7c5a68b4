"""Format ``ome-zarr``: an OME-Zarr 0.5 image with labels for each image, which viewers open by itself.

    000012.ome.zarr/
      zarr.json                        a group: OME's description; under `dgan` the image's number and origin
      0/                               (3, H, W) uint8, axes c, y, x
      1/, 2/, ...                      of large images: each half as high and wide as the one before
      labels/zarr.json                 names the label image
      labels/segmentation/zarr.json    its description: the classes' names and colours
      labels/segmentation/0/, ...      (H, W) class ids, axes y, x, at the same levels

With ``--split`` these lie in a folder of the split's name. OME-Zarr 0.5 has no collection of images, so the
folder above has no metadata of its own. The specification has no keypoints either: they are refused.

Each array is one chunk of zstd. ``zarr`` makes the metadata of an array, once for each shape: they are the
same for all images, and to create every array through ``zarr`` takes many times longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import numpy as np
import zarr
from numcodecs.zstd import Zstd
from zarr.codecs import ZstdCodec
from zarr.storage import MemoryStore

from pipeline.errors import UsageError
from pipeline.exports.content import Item
from pipeline.exports.formats.protocol import ExportInfo, Record
from pipeline.exports.ome_metadata import LABEL_NAME, image_metadata, label_image_metadata, labels_metadata
from pipeline.exports.plan import Part
from pipeline.exports.records import base_record
from pipeline.exports.sink import Sink
from pipeline.settings.json_values import json_text

PART_IMAGES = 16
LARGE = 512  # the width or height from which an image has smaller levels
SMALLEST = 64  # no level is lower or narrower
ZSTD_LEVEL = 1  # as in the store


class OmeZarrExporter:
    """Writes the format ``ome-zarr``."""

    part_images = PART_IMAGES

    def __init__(self, info: ExportInfo) -> None:
        self._info = info
        self._factors = level_factors(info.shape)
        self._labels_group = _group({"ome": labels_metadata()})
        label_image = label_image_metadata(info.classes, info.ignore, self._factors)
        self._label_image_group = _group({"ome": label_image})

    def write_part(self, part: Part, items: Iterator[Item], sink: Sink) -> Iterable[Record]:
        """The groups of a part's images."""
        for item in items:
            name = f"{item.number:06d}"
            self._write(name if part.split is None else f"{part.split}/{name}", name, item, sink)
        return []

    def _write(self, path: str, name: str, item: Item, sink: Sink) -> None:
        origin = base_record(item) | {"source": self._info.source}
        root = f"{path}.ome.zarr"
        sink.write(f"{root}/zarr.json", _group({"ome": image_metadata(name, self._factors), "dgan": origin}))
        sink.write(f"{root}/labels/zarr.json", self._labels_group)
        sink.write(f"{root}/labels/{LABEL_NAME}/zarr.json", self._label_image_group)
        for level, factor in enumerate(self._factors):
            image = reduced_image(item.image, factor).transpose(2, 0, 1)  # [3, H, W]
            _write_array(f"{root}/{level}", image, ("c", "y", "x"), sink)
            if item.labels is not None:
                labels = item.labels[::factor, ::factor]
                _write_array(f"{root}/labels/{LABEL_NAME}/{level}", labels, ("y", "x"), sink)

    def write_whole(self, split: str | None, records: Iterator[Record], sink: Sink) -> None:
        """Nothing: each image is whole by itself."""

    def write_last(self, sink: Sink) -> None:
        """Nothing."""


def open_exporter(info: ExportInfo) -> OmeZarrExporter:
    """The exporter. Raises UsageError for keypoints."""
    if info.keypoint_names is not None:
        raise UsageError(
            f"{info.source['store']}: holds keypoints, and OME-Zarr 0.5 does not say how to write them; "
            "expected labels, pass --format coco"
        )
    return OmeZarrExporter(info)


def level_factors(shape: tuple[int, int]) -> tuple[int, ...]:
    """How much smaller each level is than the first: 1, and 2, 4, ... where an image of (H, W) is large and
    divides without a rest.
    """
    factors = [1]
    while max(shape) >= LARGE:
        factor = 2 * factors[-1]
        if min(shape) // factor < SMALLEST or any(size % factor for size in shape):
            break
        factors.append(factor)
    return tuple(factors)


def reduced_image(image: np.ndarray, factor: int) -> np.ndarray:
    """(H, W, 3) uint8 to (H / factor, W / factor, 3): the mean of each block of pixels, halves rounded up."""
    if factor == 1:
        return image
    height, width, channels = image.shape
    blocks = image.reshape(height // factor, factor, width // factor, factor, channels)
    sums = blocks.sum(axis=(1, 3), dtype=np.uint32)
    return ((sums + factor**2 // 2) // factor**2).astype(np.uint8)


def _write_array(path: str, values: np.ndarray, axes: tuple[str, ...], sink: Sink) -> None:
    """One array of one chunk, which its codecs, ``bytes`` and ``zstd``, encode."""
    little_endian = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    sink.write(f"{path}/zarr.json", _array_metadata(values.shape, values.dtype.name, axes))
    sink.write(f"{path}/c{'/0' * values.ndim}", bytes(Zstd(ZSTD_LEVEL).encode(little_endian)))


@cache
def _array_metadata(shape: tuple[int, ...], dtype: str, axes: tuple[str, ...]) -> bytes:
    """``zarr.json`` of an array, as ``zarr`` writes it."""
    written: dict[str, Any] = {}
    zarr.create_array(
        MemoryStore(written),
        shape=shape,
        chunks=shape,
        dtype=dtype,
        compressors=ZstdCodec(level=ZSTD_LEVEL),
        fill_value=0,
        dimension_names=axes,
        zarr_format=3,
    )
    metadata: bytes = written["zarr.json"].to_bytes()
    return metadata


def _group(attributes: dict[str, Any]) -> bytes:
    """``zarr.json`` of a group."""
    group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    return json_text(group, 2).removesuffix("\n").encode()
