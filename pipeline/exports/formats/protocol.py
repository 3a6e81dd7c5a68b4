"""What every format does, and what it is told. A format knows files; it knows no stores and no progress."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fstore.meta import ClassInfo
from pipeline.exports.content import Item
from pipeline.exports.plan import Part
from pipeline.exports.sink import Sink

Record = dict[str, Any]
"""What is remembered of one image for the files of the whole, as JSON values."""


@dataclass(frozen=True)
class ExportInfo:
    """What is the same for all images.

    shape: (H, W). classes: in the order of their labels. ignore: the label of pixels that belong to no class,
    or None. keypoint_names: of the K keypoints, or None where images have labels. has_scores: whether images
    have an uncertainty. image_encoding: "png" or "jpeg", and jpeg_quality. splits: split name -> how many
    images; the name is None where there is one split. out: the export's folder, absolute. source: what the
    store is, as JSON values: its name, kind and id, what generated and what labelled it.
    """

    shape: tuple[int, int]
    classes: Sequence[ClassInfo]
    ignore: int | None
    keypoint_names: Sequence[str] | None
    has_scores: bool
    image_encoding: str
    jpeg_quality: int
    splits: Mapping[str | None, int]
    out: Path
    source: Mapping[str, Any]


class Exporter(Protocol):
    """One format, made for one export. Threads share it: it keeps nothing of single images."""

    part_images: int
    """How many images are written and marked together. It bounds what a part may hold in memory."""

    def write_part(self, part: Part, items: Iterator[Item], sink: Sink) -> Iterable[Record]:
        """Write the files of a part's images, which ``items`` reads one by one. Returns a record an image.

        The bytes follow from the items alone: a part that is written twice is the same.
        """
        ...

    def write_whole(self, split: str | None, records: Iterable[Record], sink: Sink) -> None:
        """Write the files of a whole split, such as an index, from the records in their order, which can be
        gone through more than once.

        It is called once for each split, in the order of ``ExportInfo.splits``, when all parts are written.
        """
        ...

    def write_last(self, sink: Sink) -> None:
        """Write what belongs to the export as a whole, such as the list of classes. It is called once."""
        ...
