"""Files of keypoints, COCO's or plain arrays: which images are annotated, and where their points lie.

It knows the format of arrays; ``coco_keypoints`` reads COCO files. It does not know the feature grid.

Coordinates are continuous: (0, 0) is the image's upper left corner, the pixel (row, column) has its centre at
(column, row) + 0.5. An array (N, K, 2 or 3) holds x, y and, with three, a visibility, 0 where a point has no
label; NaN says so too. Its row i is image i. A ``.npz`` may say besides what its coordinates count:
``image_size`` (2,) height and width, and ``names`` (K,); without a size they are pixels of the feature grid.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.inputs.annotations.formats.coco_keypoints import (
    MAX_KEYPOINTS,
    labelled_points,
    read_coco_keypoints,
    unique_names,
)
from pipeline.inputs.arrays import read_array
from pipeline.settings.file_names import is_hidden

FORMATS = "a .npy or .npz array (N, K, 2 or 3) or a COCO .json"
SUFFIXES = (".npy", ".npz", ".json")
MAX_VALUES = 2**24  # 5,000 images of 1,000 points


@dataclass(frozen=True)
class KeypointSource:
    """What a file says, in its own pixels.

    path: the file. numbers: the image numbers annotated, ascending. points: (N, K, 3) float64 x, y and 1 or
    0 (not labelled), a row for each number. sizes: (N, 2) height and width of the annotated images, None
    where the file does not say. names: K of them.
    """

    path: Path
    numbers: tuple[int, ...]
    points: NDArray[np.float64]
    sizes: NDArray[np.int64] | None
    names: tuple[str, ...]


def open_keypoints(path: str | os.PathLike[str]) -> KeypointSource:
    """Read a keypoint file, or the only one in a folder. Raises UsageError, one line, naming the file."""
    path = keypoint_file(Path(path))
    if path.suffix.lower() == ".json":
        return KeypointSource(path, *read_coco_keypoints(path))
    names: tuple[str, ...] | None = None
    size: NDArray[np.int64] | None = None
    if path.suffix.lower() == ".npz":
        array, names, size = _read_archive(path)
    else:
        array = np.asarray(read_array(path, "keypoints").values)
    points = _checked(path, array)
    num_images, num_points = points.shape[:2]
    names = names or tuple(f"keypoint_{k}" for k in range(num_points))
    if len(names) != num_points:
        raise UsageError(f"{path}: 'names' has {len(names)} entries; expected {num_points}, one a keypoint")
    sizes = None if size is None else np.tile(size, (num_images, 1))
    return KeypointSource(path, tuple(range(num_images)), points, sizes, names)


def keypoint_file(path: Path) -> Path:
    """The file itself; of a folder ``keypoints.*``, or the only file of a format of ours, in it or else in
    ``annotations`` there. Raises UsageError, one line, where there is no such file.
    """
    if not path.is_dir():
        if not path.is_file():
            raise UsageError(f"{path}: does not exist; expected {FORMATS}")
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError(f"{path}: is no keypoint file; expected {FORMATS}")
        return path
    try:
        found = _files_in(path) or _files_in(path / "annotations")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); expected {FORMATS}") from None
    named = [p for p in found if p.stem.lower() == "keypoints"]
    chosen = found if len(found) == 1 else named
    if len(chosen) != 1:
        shown = ", ".join(p.name for p in found[:4]) or "none"
        raise UsageError(
            f"{path}: holds {len(found)} files that may be keypoints ({shown}); expected one, {FORMATS}: "
            "pass the file itself"
        )
    return chosen[0]


def _files_in(folder: Path) -> list[Path]:
    """The files of a format of ours, without hidden ones; none where there is no such folder."""
    inner = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in inner if path.suffix.lower() in SUFFIXES and not is_hidden(path.name)]


def _checked(path: Path, array: NDArray[Any]) -> NDArray[np.float64]:
    """(N, K, 3) float64 with a third value of 0 or 1."""
    if array.ndim != 3 or array.shape[2] not in (2, 3) or 0 in array.shape or array.dtype.kind not in "iuf":
        raise UsageError(
            f"{path}: keypoints have shape {array.shape} and dtype {array.dtype}; expected numbers (N, K, 2) "
            "of x, y, or (N, K, 3) of x, y, visibility"
        )
    if array.shape[1] > MAX_KEYPOINTS or array.size > MAX_VALUES:
        raise UsageError(
            f"{path}: keypoints have shape {array.shape}; expected at most {MAX_KEYPOINTS} points an image "
            f"and {MAX_VALUES} values"
        )
    points = np.ones((*array.shape[:2], 3))
    points[..., : array.shape[2]] = array
    return labelled_points(points, str(path))


def _read_archive(path: Path) -> tuple[NDArray[Any], tuple[str, ...] | None, NDArray[np.int64] | None]:
    """Its keypoints (the array of this name, or the only one), names and image size."""
    members: list[str] = []

    def choose(names: list[str]) -> str | None:
        members.extend(names)
        others = [name for name in names if name not in ("names", "image_size")]
        return "keypoints" if "keypoints" in names else others[0] if len(others) == 1 else None

    array = read_array(path, "keypoints", choose).values
    names = _optional(path, "names", members)
    if names is not None and (names.ndim != 1 or names.dtype.kind != "U" or names.size > MAX_KEYPOINTS):
        raise UsageError(
            f"{path}: 'names' has shape {names.shape} and dtype {names.dtype}; expected one text a keypoint"
        )
    size = _optional(path, "image_size", members)
    if size is not None and (
        size.shape != (2,) or size.dtype.kind not in "iu" or not 1 <= size.min() <= size.max() < 2**20
    ):
        shown = f"of shape {size.shape} and dtype {size.dtype}" if size.size != 2 else size.tolist()
        raise UsageError(f"{path}: 'image_size' is {shown}; expected [height, width] in pixels")
    texts = None if names is None else unique_names(names.tolist(), str(path))
    return array, texts, None if size is None else size.astype(np.int64)


def _optional(path: Path, name: str, members: Sequence[str]) -> NDArray[Any] | None:
    return read_array(path, name, lambda _: name).values if name in members else None
