"""Format ``parquet``: a dataset of Hugging Face, as its library ``datasets`` and the Hub read it.

    data/train-00000-of-00012.parquet    a row an image; one split is called train where none is named
    README.md                            the dataset card: which file is whose, columns, classes, origin

Columns, of which an export has those that its store fills:

    image          PNG or JPEG, (H, W, 3)
    label          PNG of class ids, (H, W), with the classes' colours as palette; one of two bytes is grey
    classes        ids of the classes that the label holds; its feature has the classes' names
    keypoints      [K, 3] x, y and confidence in pixels
    number         the image's number
    uncertainty    its score
    kept           whether the filter keeps it; null where the store has no filter

The features stand in the schema of each file, so that images are images without a cast. Every file also has
the classes, the ignore label and the store under its schema's key ``dgan``, as JSON. ``dataset_card`` makes
the README.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from pipeline.errors import UsageError
from pipeline.exports.content import Item
from pipeline.exports.dataset_card import SplitSize, dataset_card
from pipeline.exports.encoding import SUFFIXES, encode_image, encode_labels, label_palette
from pipeline.exports.formats.protocol import ExportInfo, Record
from pipeline.exports.plan import Part
from pipeline.exports.sink import Sink
from pipeline.settings.json_values import json_text

PART_BYTES = 128 << 20  # of a file: raw bytes of its images
MOST_IMAGES, FEWEST_IMAGES = 256, 16  # of a file
FEWEST_FILES = 8  # of an export that is large enough, so that several threads write and workers read
ROW_GROUP_BYTES = 4 << 20  # raw; a thread that writes and a reader that streams hold one row group
STATISTICS = ("number", "uncertainty")  # columns by which a reader may skip row groups
ONE_SPLIT = "train"
_SPLIT_NAME = re.compile(r"\w+")  # as `datasets` takes them


class ParquetExporter:
    """Writes the format ``parquet``. Memory holds one row group a thread."""

    def __init__(self, info: ExportInfo) -> None:
        self._info = info
        self._palette = label_palette(info.classes, info.ignore)
        self._schema = _schema(info)
        self._splits: list[SplitSize] = []
        height, width = info.shape
        image_bytes = height * width * 4  # RGB and a label
        by_number = max(FEWEST_IMAGES, -(-sum(info.splits.values()) // FEWEST_FILES))
        self.part_images = max(1, min(PART_BYTES // image_bytes, by_number, MOST_IMAGES))
        self._group_images = max(1, ROW_GROUP_BYTES // image_bytes)

    def write_part(self, part: Part, items: Iterator[Item], sink: Sink) -> Iterable[Record]:
        """One file, a row group at a time."""
        import pyarrow
        from pyarrow.parquet import ParquetWriter

        name = f"data/{part.split or ONE_SPLIT}-{part.number:05d}-of-{part.num_parts:05d}.parquet"
        records: list[Record] = []
        options: dict[str, Any] = {
            "compression": "none",  # PNG and JPEG are compressed
            "use_dictionary": False,
            "write_statistics": [column for column in STATISTICS if column in self._schema.names],
        }
        with sink.open(name) as file, ParquetWriter(file, self._schema, **options) as writer:
            while rows := [self._row(item) for item in islice(items, self._group_images)]:
                table = pyarrow.Table.from_pylist(rows, self._schema)
                writer.write_table(table, row_group_size=len(rows))
                records += [{"num_bytes": table.slice(i, 1).nbytes} for i in range(len(rows))]
        return records

    def _row(self, item: Item) -> dict[str, Any]:
        name = f"{item.number:06d}"
        image = encode_image(item.image, self._info)
        row: dict[str, Any] = {
            "image": {"bytes": image, "path": name + SUFFIXES[self._info.image_encoding]},
            "keypoints": None if item.keypoints is None else item.keypoints.tolist(),
            "number": item.number,
            "uncertainty": item.uncertainty,
            "kept": item.kept,
        }
        if item.labels is not None:
            row["label"] = {"bytes": encode_labels(item.labels, self._palette), "path": name + ".png"}
            found = np.unique(item.labels)
            row["classes"] = found[found != self._info.ignore]
        return {name: row[name] for name in self._schema.names}

    def write_whole(self, split: str | None, records: Iterator[Record], sink: Sink) -> None:
        """Nothing is written; the size of the split is for the dataset card."""
        sizes = [record["num_bytes"] for record in records]
        self._splits.append(SplitSize(split or ONE_SPLIT, len(sizes), sum(sizes)))

    def write_last(self, sink: Sink) -> None:
        """The dataset card."""
        sink.write("README.md", dataset_card(self._info, features(self._info), self._splits).encode())


def open_exporter(info: ExportInfo) -> ParquetExporter:
    """The exporter; the format holds labels and keypoints alike.

    Raises UsageError where pyarrow is not installed, or a split has a name that ``datasets`` does not take.
    """
    wrong = [name for name in info.splits if name is not None and not _SPLIT_NAME.fullmatch(name)]
    wrong += [name for name in info.splits if name == "all"]
    if wrong:
        raise UsageError(
            f"--split: {wrong[0]}: is no name of a split for Hugging Face's datasets; expected letters, "
            'digits and _, and not "all"'
        )
    try:
        import pyarrow  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        raise UsageError("--format parquet needs pyarrow; run: pip install pyarrow") from None
    return ParquetExporter(info)


def features(info: ExportInfo) -> dict[str, dict[str, Any]]:
    """The columns as ``datasets`` describes them in a schema.

    Lists are called ``Sequence``, the older word, which every version of ``datasets`` reads.
    """
    found: dict[str, dict[str, Any]] = {"image": {"_type": "Image"}}
    if info.keypoint_names is None:
        names = [entry.name for entry in info.classes]
        unique = len(set(names)) == len(names)  # a ClassLabel cannot hold two equal names
        found["label"] = {"_type": "Image"}
        found["classes"] = _sequence({"names": names, "_type": "ClassLabel"} if unique else _value("int64"))
    else:
        found["keypoints"] = _sequence(_sequence(_value("float32")))
    found["number"] = _value("int64")
    if info.has_scores:
        found |= {"uncertainty": _value("float32"), "kept": _value("bool")}
    return found


def _value(dtype: str) -> dict[str, Any]:
    return {"dtype": dtype, "_type": "Value"}


def _sequence(feature: dict[str, Any]) -> dict[str, Any]:
    return {"feature": feature, "_type": "Sequence"}


def _schema(info: ExportInfo) -> Any:
    """The ``pyarrow.Schema`` of every file, with the features and where the images come from."""
    import pyarrow

    picture = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    types = {
        "image": picture,
        "label": picture,
        "classes": pyarrow.list_(pyarrow.int64()),
        "keypoints": pyarrow.list_(pyarrow.list_(pyarrow.float32())),
        "number": pyarrow.int64(),
        "uncertainty": pyarrow.float32(),
        "kept": pyarrow.bool_(),
    }
    columns = features(info)
    origin = {
        "classes": [{"label": c.id, "name": c.name, "color": c.color} for c in info.classes],
        "ignore": info.ignore,
        "keypoint_names": info.keypoint_names,
        "source": info.source,
    }
    metadata = {"huggingface": {"info": {"features": columns}}, "dgan": origin}
    texts = {key: json_text(value).removesuffix("\n") for key, value in metadata.items()}
    return pyarrow.schema([(name, types[name]) for name in columns], texts)
