"""The tables of a COCO file, one JSON for all images: their entries by id, and which refer to which.

``images`` have ``id``, ``file_name``, ``height``, ``width``; ``categories`` ``id``; ``annotations``
``image_id`` and ``category_id``. An image's number is the last integer of its file name. Does not know what
is annotated, masks or keypoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.inputs.annotations.formats.json_file import describe, objects, read_json
from pipeline.inputs.annotations.formats.source import image_number

WHAT = "a COCO file"
_KEYS = ("images", "annotations", "categories")
_TITLES = {"images": "file_name", "categories": "name"}


@dataclass(frozen=True)
class CocoImage:
    """An entry of ``images``: its ``file_name`` and the number in it. ``entry``: the rest; height and width
    of an image without annotations need not be there.
    """

    file_name: str
    number: int
    entry: dict[str, Any]


@dataclass(frozen=True)
class CocoFile:
    """images, categories: by id, in the file's order. annotations: the entries, each with its name for
    messages; their ``image_id`` and ``category_id`` are keys of the others.
    """

    images: Mapping[int, CocoImage]
    categories: Mapping[int, dict[str, Any]]
    annotations: tuple[tuple[str, dict[str, Any]], ...]


def is_coco(value: Any) -> bool:
    """Whether a JSON value looks like a COCO file."""
    return isinstance(value, dict) and "images" in value and "annotations" in value


def read_coco(path: Path, what: str = WHAT) -> CocoFile:
    """The tables of the file; ``what`` names it in messages. Raises UsageError, one line, naming the entry
    that is wrong.
    """
    document = read_json(path, what)
    if not is_coco(document) or "categories" not in document:
        raise UsageError(f"{path}: is {describe(document)} without {', '.join(_KEYS)}; expected {what}")
    images = _images(path, _by_id(path, "images", document["images"]))
    categories = _by_id(path, "categories", document["categories"])
    annotations = []
    for index, entry in enumerate(objects(document["annotations"], f"{path}: annotations")):
        where = f"{path}: annotation {describe(entry.get('id', f'number {index}'))}"
        _check_known(entry, "image_id", images, where)
        _check_known(entry, "category_id", categories, where)
        annotations.append((where, entry))
    return CocoFile(images, categories, tuple(annotations))


def _by_id(path: Path, table: str, entries: Any) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for index, entry in enumerate(objects(entries, f"{path}: {table}")):
        where = f"{path}: {table} number {index}"
        key = _id(entry, "id", where)
        if key in found:
            other = found[key].get(_TITLES[table])
            raise UsageError(f"{where}: its id, {key}, is that of {describe(other)} too; expected another")
        found[key] = entry
    return found


def _images(path: Path, entries: Mapping[int, dict[str, Any]]) -> dict[int, CocoImage]:
    images: dict[int, CocoImage] = {}
    by_number: dict[int, str] = {}
    for index, (key, entry) in enumerate(entries.items()):
        where, name = f"{path}: images number {index}", entry.get("file_name")
        if not isinstance(name, str) or not name.isprintable():
            raise UsageError(f"{where}: file_name is {describe(name)}; expected the picture's name")
        number = image_number(name)
        if number is None:
            raise UsageError(
                f"{where}: file_name {name!r:.80} has no number; expected that of the image, as image_3.png"
            )
        if number in by_number:
            raise UsageError(
                f"{path}: {by_number[number]!r:.80} and {name!r:.80} are both image {number}, the last "
                "integer of the name; rename one"
            )
        images[key], by_number[number] = CocoImage(name, number, entry), name
    return images


def _id(entry: dict[str, Any], key: str, where: str) -> int:
    value = entry.get(key)
    if type(value) is not int:
        raise UsageError(f"{where}: {key} is {describe(value)}; expected an integer")
    return value


def _check_known(entry: dict[str, Any], key: str, known: Mapping[int, object], where: str) -> None:
    value = _id(entry, key, where)
    if value not in known:
        raise UsageError(
            f"{where}: {key} is {value}, which the file's {_KEYS[0 if key == 'image_id' else 2]} lack"
        )
