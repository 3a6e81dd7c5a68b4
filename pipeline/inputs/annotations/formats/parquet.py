"""Parquet files with a mask a row: datasets of Hugging Face, as ``dgan export`` writes them.

Column ``label`` has PNGs of class ids, as bytes or as ``datasets`` stores images, a struct with ``bytes``.
Column ``number`` has the images' numbers; without it, the number is in the label's ``path``. The schema's key
``dgan`` may name the values, as ``pipeline.exports.formats.parquet`` says. The folder is that of the files,
or the one with ``data/`` in it.

One row group is in memory at a time.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.inputs.annotations.formats.listed_values import Listed, listed_classes
from pipeline.inputs.annotations.raster.png import read_labels
from pipeline.inputs.annotations.source import AnnotationSource, MaskFile
from pipeline.inputs.numbers import image_number
from pipeline.settings.classes import IGNORE_NAME

FILES = "[!.]*.parquet"
MAX_GROUP_BYTES = 2**30  # of one column in one row group
WHAT = "Parquet files with the columns label and number"


@dataclass(frozen=True)
class _Place:
    """Where a mask is: its file, row group, and row in the group."""

    path: Path
    group: int
    row: int


def find_parquet(folder: Path) -> str | None:
    """The first Parquet file in ``folder`` or its ``data`` that has labels or cannot be read, or None."""
    return next((path.name for path in _files(folder) if _may_have_labels(path)), None)


def _may_have_labels(path: Path) -> bool:
    try:
        return "label" in _open(path).schema_arrow.names
    except UsageError:  # opening it as annotations says so
        return True


def open_parquet(folder: Path) -> AnnotationSource:
    """The masks in all Parquet files of ``folder``, or of its ``data``.

    Raises UsageError, one line, where pyarrow is not installed, for files that are damaged or lack a column,
    for two masks of one image, and for files whose classes differ.
    """
    paths = _files(folder)
    places: dict[int, _Place] = {}
    listed: list[Listed] = []
    for index, path in enumerate(paths):
        found = _listed(path)
        if index and found != listed:
            raise UsageError(
                f"{path}: its classes are not those of {paths[0].name}; expected the same in all"
            )
        listed = found
        for number, place in _places(path):
            if number in places:
                first = places[number].path.name
                raise UsageError(f"{path}: image {number} is in {first} already; expected one mask for each")
            places[number] = place
    classes, ignored = listed_classes(listed, f"{paths[0] if paths else folder}: schema")

    @lru_cache(maxsize=1)
    def labels_of(path: Path, group: int) -> Any:
        return _column(path, group, "label")

    def read(number: int) -> MaskFile:
        place = places[number]
        where = f"{place.path}: the label of image {number}"
        column = labels_of(place.path, place.group)
        content = _bytes(column[place.row].as_py()) if place.row < len(column) else None
        if content is None:
            raise UsageError(f"{where} is no picture; expected the bytes of a PNG")
        return read_labels(io.BytesIO(content), where)

    return AnnotationSource(
        folder,
        "masks",
        {number: f"{place.path.relative_to(folder)} ({number})" for number, place in places.items()},
        read,
        classes=classes,
        classes_from=paths[0] if classes else None,
        ignored=ignored,
    )


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob(FILES)) or sorted(folder.glob(f"data/{FILES}"))


def _places(path: Path) -> Iterator[tuple[int, _Place]]:
    """The number of each mask in a file, and its place."""
    file = _open(path)
    names = file.schema_arrow.names
    if "label" not in names:
        more = "; keypoints are read from COCO files" if "keypoints" in names else ""
        raise UsageError(f"{path}: has no column label; expected {WHAT}{more}")
    numbered = "number" in names
    for group in range(file.num_row_groups):
        for row, value in enumerate(_column(path, group, "number" if numbered else "label").to_pylist()):
            number = value if numbered else _number_in_path(value)
            if not isinstance(number, int) or not 0 <= number < 10**9:
                raise UsageError(
                    f"{path}: row {row} of row group {group} has the number {number!r:.40}; expected that of "
                    "an image, in the column number or in the path of the label"
                )
            yield number, _Place(path, group, row)


def _number_in_path(label: object) -> int | None:
    path = label.get("path") if isinstance(label, dict) else None
    return image_number(path) if isinstance(path, str) else None


def _open(path: Path) -> Any:
    """The open file, a ``pyarrow.parquet.ParquetFile``."""
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        raise UsageError(f"{path}: to read it, pyarrow is needed; run: pip install pyarrow") from None
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _column(path: Path, group: int, name: str) -> Any:
    """One column of one row group, a ``pyarrow.ChunkedArray``."""
    import pyarrow

    file = _open(path)
    described = file.metadata.row_group(group)
    columns = [described.column(i) for i in range(described.num_columns)]
    size = sum(c.total_uncompressed_size for c in columns if c.path_in_schema.split(".")[0] == name)
    if size > MAX_GROUP_BYTES:
        raise UsageError(
            f"{path}: column {name} of row group {group} has {size:,} bytes; expected at most "
            f"{MAX_GROUP_BYTES:,}: write smaller row groups"
        )
    try:
        return file.read_row_group(group, [name]).column(name)
    except (pyarrow.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UsageError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return UsageError(f"{path}: cannot be read as Parquet, or is truncated ({reason:.200}); expected {WHAT}")


def _bytes(label: object) -> bytes | None:
    found = label.get("bytes") if isinstance(label, dict) else label
    return found if isinstance(found, bytes) else None


def _listed(path: Path) -> list[Listed]:
    """The values that the schema names, with their colours; [] where it says nothing."""
    text = (_open(path).schema_arrow.metadata or {}).get(b"dgan")
    if text is None:
        return []
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    entries = document.get("classes") if isinstance(document, Mapping) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"{path}: schema: dgan has no list of classes; expected what dgan export writes")
    listed: list[Listed] = [(entry.get("label"), entry.get("name"), entry.get("color")) for entry in entries]
    ignore = document.get("ignore")
    return listed if ignore is None else [*listed, (ignore, IGNORE_NAME, None)]
