"""Parquet files with a mask a row: datasets of Hugging Face, as ``dgan export`` writes them.

Column ``label`` has PNGs of class ids, as bytes or as ``datasets`` stores images, a struct with ``bytes``.
Column ``number`` has the images' numbers; without it, the number is in the label's ``path``. The schema's key
``dgan`` may name the values, as ``pipeline.exports.formats.parquet`` says. The folder is that of the files,
or the one with ``data/`` in it.

One row group of labels is in memory at a time, and each label once that a file has for many rows.
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
from pipeline.inputs.numbers import listed_number, names_have_numbers
from pipeline.settings.classes import IGNORE_NAME

FILES = "[!.]*.parquet"
MAX_GROUP_BYTES = 2**30  # of one column in one row group
MAX_GROUP_ROWS = 2**22  # in one row group: equal values of a column take next to no bytes in a file
BATCH_ROWS = 2**12  # of numbers that are read at once
TEXTS = ("label", "label.bytes", "label.path")  # columns of which equal values stay one value in memory
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
        content = _bytes(place.path, column[place.row]) if place.row < len(column) else None
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
    """Plain files: a pipe would be waited for."""
    found = sorted(folder.glob(FILES)) or sorted(folder.glob(f"data/{FILES}"))
    return [path for path in found if path.is_file()]


def _places(path: Path) -> Iterator[tuple[int, _Place]]:
    """The number of each mask in a file, and its place."""
    file = _open(path)
    names = file.schema_arrow.names
    if "label" not in names:
        more = "; keypoints are read from COCO files" if "keypoints" in names else ""
        raise UsageError(f"{path}: has no column label; expected {WHAT}{more}")
    numbered = "number" in names and names_have_numbers()
    for group in range(file.num_row_groups):
        for row, value in enumerate(_values(path, group, "number" if numbered else "label")):
            number = value if numbered else _number_in_path(value)
            if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 10**9:
                raise UsageError(
                    f"{path}: row {row} of row group {group} has the number {number!r:.40}; expected that of "
                    "an image, in the column number or in the path of the label"
                )
            yield number, _Place(path, group, row)


def _number_in_path(label: object) -> int | None:
    path = label.get("path") if isinstance(label, dict) else None
    return listed_number(path) if isinstance(path, str) else None


def _open(path: Path) -> Any:
    """The open file, a ``pyarrow.parquet.ParquetFile``. No two of its columns have one name."""
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        raise UsageError(f"{path}: to read it, pyarrow is needed; run: pip install pyarrow") from None
    try:
        schema = pyarrow.parquet.read_metadata(path).schema
        texts = [name for i in range(len(schema)) if (name := schema.column(i).path) in TEXTS]
        file = pyarrow.parquet.ParquetFile(path, read_dictionary=texts)
        names = file.schema_arrow.names
    except _errors() as error:
        raise _damaged(path, error) from error
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{path}: has two columns {twice!r:.40}; expected {WHAT}")
    return file


def _errors() -> tuple[type[Exception], ...]:
    """What pyarrow raises for damaged files; ValueError for names that are no UTF-8."""
    import pyarrow

    return pyarrow.ArrowException, OSError, ValueError


def _values(path: Path, group: int, name: str) -> Iterator[Any]:
    """The values of one column of one row group, a few at a time."""
    file = _open(path)
    _check_group(path, file, group, name)
    try:
        for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=[name]):
            yield from (value.as_py() for value in batch.column(0))
    except _errors() as error:
        raise _damaged(path, error) from error


def _column(path: Path, group: int, name: str) -> Any:
    """One column of one row group, a ``pyarrow.ChunkedArray``."""
    file = _open(path)
    _check_group(path, file, group, name)
    try:
        return file.read_row_group(group, [name]).column(name)
    except _errors() as error:
        raise _damaged(path, error) from error


def _check_group(path: Path, file: Any, group: int, name: str) -> None:
    """Refuse a row group whose column would take too much memory."""
    try:
        described = file.metadata.row_group(group)
        columns = [described.column(i) for i in range(described.num_columns)]
        size = sum(c.total_uncompressed_size for c in columns if c.path_in_schema.split(".")[0] == name)
    except _errors() as error:
        raise _damaged(path, error) from error
    if described.num_rows > MAX_GROUP_ROWS:
        raise UsageError(
            f"{path}: row group {group} has {described.num_rows:,} rows; expected at most "
            f"{MAX_GROUP_ROWS:,}: write smaller row groups"
        )
    if size > MAX_GROUP_BYTES:
        raise UsageError(
            f"{path}: column {name} of row group {group} has {size:,} bytes; expected at most "
            f"{MAX_GROUP_BYTES:,}: write smaller row groups"
        )


def _damaged(path: Path, error: Exception) -> UsageError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return UsageError(f"{path}: cannot be read as Parquet, or is truncated ({reason:.200}); expected {WHAT}")


def _bytes(path: Path, value: Any) -> bytes | None:
    """The bytes of one label, a ``pyarrow.Scalar``; None where it has none."""
    try:
        label = value.as_py()
    except _errors() as error:  # a text that is no UTF-8
        raise _damaged(path, error) from error
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
