"""COCO keypoints (https://cocodataset.org/#format-data): one instance an image, as CVAT and others export.

It knows the points of an instance and their names. It does not know the feature grid, nor other files.

COCO's x and y are taken as they stand, as continuous coordinates: what tools export. Its own data set counts
whole pixels, whose centres lie half a pixel further.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.inputs.annotations.formats.coco import CocoFile, read_coco
from pipeline.inputs.annotations.json_file import describe
from pipeline.inputs.annotations.source import check_size

MAX_KEYPOINTS = 4096
WHAT = "COCO keypoints"

CocoKeypoints = tuple[tuple[int, ...], NDArray[np.float64], NDArray[np.int64], tuple[str, ...]]
"""Image numbers [N], points [N, K, 3], sizes [N, 2] (height, width), names [K]."""


def read_coco_keypoints(path: Path) -> CocoKeypoints:
    """The numbers of the annotated images, ascending, their points, sizes and the points' names.

    An image's number is that in its ``file_name``; visibility 0 is not labelled, 1 (hidden) and 2
    (visible) are. Raises UsageError, one line, naming the file and what is wrong in it.
    """
    file = read_coco(path, WHAT)
    instances = [entry for _, entry in file.annotations if entry.get("keypoints")]
    if not instances:
        raise UsageError(f"{path}: no annotation has 'keypoints'; expected {WHAT}, not boxes or masks")
    names = _names(file, path, instances)
    rows: dict[int, tuple[NDArray[np.float64], tuple[int, int]]] = {}
    for entry in instances:
        image = file.images[entry["image_id"]]
        number = image.number
        if number in rows:
            raise UsageError(
                f"{path}: image {number} has more than one instance with keypoints; expected one, as a heat "
                "map has one peak: keep one of them"
            )
        where = f"{path}: image {number}"
        size = check_size(image.entry.get("height"), image.entry.get("width"), where)
        rows[number] = _points(entry["keypoints"], len(names), where), size
    numbers = tuple(sorted(rows))
    points = np.stack([rows[number][0] for number in numbers])
    return numbers, points, np.array([rows[number][1] for number in numbers], np.int64), names


def labelled_points(points: NDArray[np.float64], where: str) -> NDArray[np.float64]:
    """(..., 3) x, y, visibility -> x, y and 1, or zeros where the visibility is not positive or one is NaN.

    Raises UsageError naming ``where`` for a coordinate that is infinite.
    """
    labelled = (points[..., 2] > 0) & ~np.isnan(points).any(axis=-1)
    points = np.where(labelled[..., None], points, 0.0)
    if not np.isfinite(points).all() or np.abs(points).max(initial=0) > 1e9:
        raise UsageError(f"{where}: a keypoint's coordinate is infinite or huge; expected pixels")
    points[..., 2] = labelled
    return points


def unique_names(names: Sequence[Any], where: str) -> tuple[str, ...]:
    """Keypoints' names as texts. Raises UsageError naming ``where`` if they do not tell the points apart."""
    texts = tuple(name.strip() if isinstance(name, str) else "" for name in names)
    if len(set(texts)) < len(texts) or not all(0 < len(text) <= 200 for text in texts):
        raise UsageError(
            f"{where}: a keypoint's name is empty, too long, or another's; expected one for each"
        )
    return texts


def _names(file: CocoFile, path: Path, instances: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Of the one category that the instances are of."""
    used = {entry["category_id"] for entry in instances}
    if len(used) != 1:
        raise UsageError(
            f"{path}: keypoints are of {len(used)} categories; expected instances of one category"
        )
    names = file.categories[used.pop()].get("keypoints")
    if not isinstance(names, list) or not 0 < len(names) <= MAX_KEYPOINTS:
        raise UsageError(
            f"{path}: the category's 'keypoints' is {describe(names)}; expected a list of the points' names"
        )
    return unique_names(names, f"{path}: 'categories'")


def _points(flat: Any, num_points: int, where: str) -> NDArray[np.float64]:
    """(K, 3) from x1, y1, v1, x2, ..."""
    if not isinstance(flat, list) or len(flat) != 3 * num_points:
        raise UsageError(
            f"{where}: keypoints is {describe(flat)}; expected a list of {3 * num_points} numbers"
        )
    if not all(isinstance(value, (int, float)) and not abs(value) > 1e9 for value in flat):
        raise UsageError(f"{where}: a keypoint is no number of pixels; expected x, y, visibility")
    return labelled_points(np.array(flat, np.float64).reshape(num_points, 3), where)
