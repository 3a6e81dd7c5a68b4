"""Draws shapes: polygons, boxes, circles and run-length codes as boolean masks, and masks into one raster.

Coordinates are continuous, x to the right and y down, with the upper left corner of the image at (0, 0) and
the centre of pixel (row, column) at (column + 0.5, row + 0.5), as COCO has it. A pixel belongs to a shape
whose inside holds its centre; pycocotools, which fills the polygons, snaps them to fifths of a pixel first.
This module does not know file formats, nor what labels mean.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from pipeline.errors import UsageError
from pipeline.inputs.annotations.json_file import describe

Size = tuple[int, int]
# Characters of a compressed code: 48 to 79 end a number, 80 to 111 go on with it. Six go far beyond 2^26;
# pycocotools reads past the end of a code that stops within a number.
_COMPRESSED = re.compile(r"(?:[P-o]{0,6}[0-O])*")


def paint(shapes: Iterable[tuple[int, NDArray[np.bool_]]], size: Size) -> NDArray[np.uint16]:
    """(h, w) of labels: 0 where no shape is, else the label of the last shape drawn there."""
    raster = np.zeros(size, np.uint16)
    for label, inside in shapes:
        raster[inside] = label
    return raster


def points_of(value: Any, size: Size, where: str) -> NDArray[np.float64]:
    """(n, 2) finite x, y from JSON: pairs, or one flat list. Raises UsageError naming ``where``.

    A point further outside than the image is long is refused: pycocotools allocates by a polygon's length.
    """
    try:
        flat = np.array(value, np.float64).reshape(-1)
        points = flat.reshape(-1, 2)
    except (ValueError, TypeError, OverflowError) as error:
        raise UsageError(f"{where}: is {describe(value)}; expected numbers x, y, x, y, ...") from error
    if not np.isfinite(points).all():
        raise UsageError(f"{where}: holds a coordinate that is not finite; expected numbers")
    height, width = size
    low, high = np.array([-width, -height]), np.array([2 * width, 2 * height])
    outside = (points < low) | (points > high)
    if outside.any():
        x, y = points[outside.any(axis=1)][0]
        raise UsageError(
            f"{where}: has a point at x {x:g}, y {y:g}, far outside the image of {width} x {height} "
            "(width x height); expected coordinates in its pixels"
        )
    return points


def polygon(points: NDArray[np.float64], size: Size) -> NDArray[np.bool_]:
    """(h, w): pixels whose centres lie inside the closed polygon (n >= 3, 2), by the even-odd rule."""
    code = coco_mask.frPyObjects([points.reshape(-1).tolist()], *size)
    return _decoded(code)[..., 0]


def rectangle(points: NDArray[np.float64], size: Size) -> NDArray[np.bool_]:
    """(h, w): pixels whose centres lie in the box that encloses ``points`` (n >= 1, 2)."""
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    rows, columns = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
    inside: NDArray[np.bool_] = (
        ((rows >= top) & (rows < bottom))[:, None] & (columns >= left) & (columns < right)
    )
    return inside


def circle(center: NDArray[np.float64], radius: float, size: Size) -> NDArray[np.bool_]:
    """(h, w): pixels whose centres lie within ``radius`` of ``center``, (2,) x and y."""
    rows, columns = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
    distance = (rows[:, None] - center[1]) ** 2 + (columns - center[0]) ** 2
    return np.asarray(distance <= radius**2, np.bool_)


def run_lengths(counts: Any, size: Size, where: str) -> NDArray[np.bool_]:
    """(h, w) from a COCO run-length code: ``counts`` is a list, or the compressed text.

    Runs go down the columns, first of pixels outside, then inside, in turn. Raises UsageError, naming
    ``where``, unless they cover the image exactly.
    """
    height, width = size
    runs = _uncompressed(counts, where) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or any(type(run) is not int or run < 0 for run in runs):
        raise UsageError(
            f"{where}: counts is {describe(counts)}; expected run lengths, or their compressed text"
        )
    if sum(runs) != height * width:
        raise UsageError(
            f"{where}: the run lengths cover {sum(runs)} pixels; expected {height * width}, those of "
            f"{height} x {width}"
        )
    code = coco_mask.frPyObjects({"counts": runs, "size": [height, width]}, height, width)
    return _decoded(code)


def _decoded(code: Any) -> NDArray[np.bool_]:
    with warnings.catch_warnings():  # pycocotools 2.0.11 converts its arrays as NumPy 1 did
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        return np.asarray(coco_mask.decode(code), np.bool_)


def _uncompressed(text: str, where: str) -> list[int]:
    """Run lengths from COCO's text: six-bit digits of 5 bits each, lowest first, and from the fourth run on
    the difference to the run before last.
    """
    if _COMPRESSED.fullmatch(text) is None:
        raise UsageError(
            f"{where}: counts is {describe(text)}, no compressed run-length code, or a truncated one"
        )
    runs: list[int] = []
    value = shift = 0
    for digit in text.encode("ascii"):
        bits = digit - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs


def in_order(shapes: Sequence[Any], overlap: str) -> Sequence[Any]:
    """The shapes in the order to draw them in: of two on a pixel the one drawn last is seen."""
    return shapes if overlap == "later" else shapes[::-1]


def distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Of two points (2,)."""
    return math.hypot(*(a - b).tolist())
