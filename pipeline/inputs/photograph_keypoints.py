"""Reads photographs whose keypoints are annotated: a folder of pictures of any size, and a file of keypoints.

Entries of a COCO file are paired with pictures as `pipeline.inputs.photograph_pairs` says. Row i of an array
is the picture with number i in its name; or, where the numbers are others and there are as many rows as
pictures, the i-th picture by name. It does not know what the points are for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError, count, few
from pipeline.inputs.annotations.formats.keypoint_files import KeypointSource, keypoint_file, open_keypoints
from pipeline.inputs.annotations.keypoints import check_names, check_scale, place_points
from pipeline.inputs.annotations.raster.fitting import aspect_error
from pipeline.inputs.numbers import image_number
from pipeline.inputs.photograph_pairs import BY_NUMBER, BY_ORDER, Opened, Pairs, pair_pictures
from pipeline.inputs.pictures.read import picture_files, read_picture, read_size


@dataclass(frozen=True)
class PhotographKeypoints:
    """Pictures with their keypoints, in the order of the pictures' names.

    paths: (n) pictures. read_picture: place -> (h, w, 3) uint8, as it is shown. points: (n, K, 3) float32 x,
    y in pixels of the picture as it is shown, and 1, or zeros where a point has no label. sizes: (n, 2)
    height and width of the pictures. record: what a file of results says of them. notes: lines for the user.
    """

    paths: tuple[Path, ...]
    read_picture: Callable[[int], NDArray[np.uint8]]
    points: NDArray[np.float32]
    sizes: NDArray[np.int64]
    record: dict[str, Any]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)


def open_photograph_keypoints(
    images: Path, annotations: Path | None, *, names: Sequence[str], owner: str = "the segmenter"
) -> PhotographKeypoints:
    """The pictures of a folder whose keypoints a file has; ``annotations`` None: it lies beside the pictures.

    Raises UsageError, one line, for a file that is missing, broken, of other keypoints than the ``names`` of
    ``owner``, or of other pictures, and for points outside their picture.
    """
    pictures, place = picture_files(images), annotations or images
    file = keypoint_file(place)
    if file.suffix.lower() == ".json":
        pairs = pair_pictures(pictures, file, lambda: _opened(open_keypoints(file)))
    else:
        pairs = _of_rows(pictures, open_keypoints(file))
    source = pairs.opened.value
    check_names(source, names, owner)
    sizes = [read_size(path) for path in pairs.pictures]
    points = _points(pairs, sizes)
    record = {
        "images": str(images),
        "annotations": str(source.path),
        "format": "keypoints",
        "paired_by": pairs.how,
        "sha256": hashlib.sha256(points.tobytes()).hexdigest(),
    }
    return PhotographKeypoints(
        pairs.pictures,
        lambda place: read_picture(pairs.pictures[place]),
        points,
        np.array(sizes, np.int64).reshape(-1, 2),
        record,
        pairs.notes,
    )


def _opened(source: KeypointSource) -> Opened[KeypointSource]:
    return Opened(source, source.path, {number: f"image {number}" for number in source.numbers})


def _of_rows(pictures: Sequence[Path], source: KeypointSource) -> Pairs[KeypointSource]:
    """The pictures of an array's rows."""
    opened, rows = _opened(source), set(source.numbers)
    numbered = {
        path: number
        for path in pictures
        if (number := image_number(path.name)) is not None and number in rows
    }
    distinct = len(numbered) == len(set(numbered.values())) > 0
    if len(rows) == len(pictures) and not (distinct and len(numbered) == len(rows)):
        note = (
            f"{source.path}: its rows are taken in the order of the pictures' names, {pictures[0].name} to "
            f"{pictures[-1].name}, as not all of these have the number of a row"
        )
        return Pairs(opened, tuple(pictures), source.numbers, BY_ORDER, (note,))
    if not distinct:
        raise UsageError(
            f"{source.path}: has {count(len(rows), 'row')}, and {pictures[0].parent} "
            f"{count(len(pictures), 'picture')} ({few([path.name for path in pictures], 2)}); expected a row "
            "for each, or the row's number in each name"
        )
    bare = [path.name for path in pictures if path not in numbered]
    notes = _left_out(pictures[0].parent, source, bare, len(rows) - len(numbered))
    return Pairs(opened, tuple(numbered), tuple(numbered.values()), BY_NUMBER, notes)


def _left_out(folder: Path, source: KeypointSource, bare: Sequence[str], lone: int) -> tuple[str, ...]:
    notes = []
    if bare:
        notes.append(f"{folder}: {count(len(bare), 'picture')} without keypoints, left out: {few(bare)}")
    if lone:
        notes.append(f"{source.path}: {count(lone, 'row')} without a picture in {folder}, left out")
    return tuple(notes)


def _points(pairs: Pairs[KeypointSource], sizes: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
    """(n, K, 3) in pixels of the pictures, whose (height, width) are ``sizes``."""
    source = pairs.opened.value
    places = {number: place for place, number in enumerate(source.numbers)}
    chosen = [places[number] for number in pairs.numbers]
    points = source.points[chosen]  # [n, K, 3], a copy
    check_scale(source, points, min(sizes))
    for row, (number, size, picture) in enumerate(zip(pairs.numbers, sizes, pairs.pictures, strict=True)):
        if source.sizes is None:
            said = size
        else:
            said = (int(source.sizes[chosen[row], 0]), int(source.sizes[chosen[row], 1]))
        if aspect_error(said, size) >= 1:
            raise UsageError(
                f"{source.path}: its image {number} is {said[0]} x {said[1]} (rows x columns), and {picture} "
                f"{size[0]} x {size[1]}; expected the same aspect"
            )
        points[row] = place_points(source, number, points[row], said, size, (0, size[0]))
    if not points[..., 2].any():
        raise UsageError(f"{source.path}: no keypoint is labelled; expected some in the pictures")
    return points.astype(np.float32)
