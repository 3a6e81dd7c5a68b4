"""LabelMe files, and those of editors that write the same: a folder of JSON, one file an image.

A file has ``shapes``, each a ``label``, a ``shape_type`` and ``points`` [[x, y], ...], and ``imageHeight``
and ``imageWidth``, of the image as it is shown. The image's number is that of the file's name, else of
``imagePath``. Polygons, turned rectangles (four corners), rectangles (two corners), circles (centre, point on
the rim) and masks (a base64 PNG within a box) are areas; lines and points have none and are left out, and
counted. Other shapes are refused. ``group_id``, ``flags`` and ``imageData`` mean nothing here.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fstore.meta import LARGEST_LABEL
from pipeline.errors import UsageError, count, few
from pipeline.inputs.annotations.json_file import objects, read_json
from pipeline.inputs.annotations.raster import shapes as draw
from pipeline.inputs.annotations.raster.png import load_png
from pipeline.inputs.annotations.source import (
    OUTSIDE,
    AnnotationSource,
    MaskFile,
    SourceLabel,
    check_size,
    label_text,
)
from pipeline.inputs.numbers import image_number, listed_number, stem_of
from pipeline.settings.file_names import is_hidden

WHAT = "a LabelMe file"
_POLYGONS = ("polygon", "oriented_rectangle", "rotation", "rotated_rectangle", "quadrilateral", "quad")
_CORNERS = dict.fromkeys(_POLYGONS, 3) | {"rectangle": 2, "circle": 2, "mask": 2}  # points at least
_WITHOUT_AREA = ("point", "points", "line", "linestrip")


@dataclass(frozen=True)
class _Shape:
    label: str
    kind: str
    points: NDArray[np.float64]  # (n, 2) x, y
    mask: str | None  # base64 PNG of a shape of kind "mask"
    where: str


@dataclass(frozen=True)
class _File:
    size: tuple[int, int]
    shapes: tuple[_Shape, ...]
    left_out: tuple[str, ...]  # kinds of shapes without an area
    picture: str  # imagePath


def is_labelme(value: Any) -> bool:
    """Whether a JSON value looks like a LabelMe file."""
    return isinstance(value, dict) and "shapes" in value


def open_labelme(folder: Path, overlap: str) -> AnnotationSource:
    """Every LabelMe file of ``folder``, parsed. Raises UsageError, one line, naming file and shape."""
    paths: dict[int, Path] = {}
    files: dict[int, _File] = {}
    others = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() != ".json" or is_hidden(path.name):
            continue
        document = read_json(path, WHAT)
        if not is_labelme(document):
            others.append(path.name)
            continue
        number = _number(path, document)
        if number in paths:
            raise UsageError(
                f"{path}: {paths[number].name} annotates image {number} too; keep one, or rename it"
            )
        paths[number], files[number] = path, _parse(path, document)
    names = sorted({shape.label for file in files.values() for shape in file.shapes})
    if len(names) > LARGEST_LABEL:
        raise UsageError(
            f"{folder}: the files hold {count(len(names), 'label')}; expected at most {LARGEST_LABEL}"
        )
    values = {name: value for value, name in enumerate(names, start=1)}

    def read(number: int) -> MaskFile:
        file = files[number]
        ordered = draw.in_order(file.shapes, overlap)
        return MaskFile(draw.paint(((values[s.label], _inside(s, file.size)) for s in ordered), file.size))

    return AnnotationSource(
        folder,
        "labelme",
        {number: path.name for number, path in paths.items()},
        read,
        (OUTSIDE, *(SourceLabel(None, (name,)) for name in names)),
        f"JSON files that are no LabelMe files: {few(others)}" if others else None,
        _notes(folder, paths, files),
    )


def _number(path: Path, document: dict[str, Any]) -> int:
    number = image_number(path.name)
    if number is None:
        number = image_number(stem_of(str(document.get("imagePath", ""))))
    if number is None:
        number = listed_number(path.name)
    if number is None:
        raise UsageError(
            f"{path}: neither its name nor its imagePath has a number; expected that of the image, as in "
            "image_3.json"
        )
    return number


def _parse(path: Path, document: dict[str, Any]) -> _File:
    size = check_size(document.get("imageHeight"), document.get("imageWidth"), f"{path}: the image")
    kept, left_out = [], []
    for index, entry in enumerate(objects(document["shapes"], f"{path}: shapes")):
        where = f"{path}: shape {index}"
        label = label_text(entry.get("label"), f"{where}: label")
        kind = str(entry.get("shape_type") or "polygon")  # older files have no other shapes
        points = draw.points_of(entry.get("points"), size, f"{where} ({label!r:.40}): points")
        if kind in _WITHOUT_AREA or (kind == "polygon" and len(points) < 3):
            left_out.append(f"{kind.removesuffix('s')}s" if kind != "polygon" else "shapes 'polygon'")
            continue
        if kind not in _CORNERS:
            raise UsageError(
                f"{where} ({label!r:.40}): shape_type is {kind!r:.40}, {count(len(points), 'point')}; "
                f"expected one of {', '.join(_CORNERS)}: save it as a polygon, or delete it"
            )
        if len(points) < _CORNERS[kind]:
            raise UsageError(
                f"{where} ({label!r:.40}): has {count(len(points), 'point')} as {kind!r}; expected "
                f"{_CORNERS[kind]} or more"
            )
        kept.append(_Shape(label, kind, points, entry.get("mask"), f"{where} ({label!r:.40})"))
    return _File(size, tuple(kept), tuple(left_out), str(document.get("imagePath") or ""))


def _inside(shape: _Shape, size: tuple[int, int]) -> NDArray[np.bool_]:
    if shape.kind in _POLYGONS:
        return draw.polygon(shape.points, size)
    if shape.kind == "rectangle":
        return draw.rectangle(shape.points, size)
    if shape.kind == "circle":
        return draw.circle(shape.points[0], draw.distance(shape.points[0], shape.points[1]), size)
    return _pasted(shape, size)


def _pasted(shape: _Shape, size: tuple[int, int]) -> NDArray[np.bool_]:
    """A shape of kind "mask": its PNG, nonzero inside, with its upper left pixel at the first point's."""
    try:
        content = base64.b64decode(shape.mask or "", validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise UsageError(
            f"{shape.where}: its mask is no base64 text; expected a PNG as LabelMe saves it"
        ) from error
    image = load_png(io.BytesIO(content), "a mask as LabelMe saves it", f"{shape.where}: its mask")
    if image.mode not in ("1", "L", "P"):
        raise UsageError(f"{shape.where}: its mask has mode {image.mode}; expected one channel")
    part = np.array(image) != 0  # [h, w]
    left, top = (int(value) for value in shape.points.min(axis=0))
    if left < 0 or top < 0 or top + part.shape[0] > size[0] or left + part.shape[1] > size[1]:
        raise UsageError(
            f"{shape.where}: its mask of {part.shape} at row {top}, column {left} leaves the image"
        )
    inside = np.zeros(size, np.bool_)
    inside[top : top + part.shape[0], left : left + part.shape[1]] = part
    return inside


def _notes(folder: Path, paths: dict[int, Path], files: dict[int, _File]) -> tuple[str, ...]:
    notes = []
    left_out = Counter(kind for file in files.values() for kind in file.left_out)
    if left_out:
        said = ", ".join(f"{number} {kind}" for kind, number in sorted(left_out.items()))
        notes.append(f"{folder}: shapes without an area were left out: {said}")
    empty = [paths[number].name for number, file in files.items() if not file.shapes]
    if empty:
        notes.append(f"{folder}: no areas are drawn, and all is background, in {few(empty)}")
    others = [
        f"{paths[number].name} ({file.picture})"
        for number, file in files.items()
        if image_number(stem_of(file.picture)) not in (None, number)
    ]
    if others:
        notes.append(
            f"{folder}: the number in the file's name counts, and imagePath has another one: {few(others)}"
        )
    return tuple(notes)
