"""Reads the true labels of a dataset's images from annotations in any format, by the number in their names.

It knows annotations and what a dataset says of itself. It does not know what is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fstore.dataset import Dataset
from pipeline.errors import UsageError, count, few
from pipeline.evaluation.job import Judged, Truth
from pipeline.inputs.annotations.classes.known import known_classes, places_of, reworded
from pipeline.inputs.annotations.formats.keypoint_files import open_keypoints
from pipeline.inputs.annotations.keypoints import check_names, load_keypoints
from pipeline.inputs.annotations.load import load_annotations, open_annotations
from pipeline.inputs.pictures.find import find_pictures, picture_size


def read_truth(
    dataset: Dataset, judged: Judged, annotations: Path, label_map: Path | None
) -> tuple[Truth, tuple[str, ...]]:
    """The annotations of a dataset's images, and notes for the user.

    Raises UsageError, one line, for annotations that are missing, broken, or of images or classes that the
    dataset does not have.
    """
    if dataset.meta.keypoints is None:
        return _read_masks(dataset, judged, annotations, label_map)
    if label_map is not None:
        raise UsageError(f"--label-map is {label_map}, and {dataset.location} has keypoints; leave it out")
    return _read_points(dataset, judged, annotations), ()


def _read_masks(
    dataset: Dataset, judged: Judged, folder: Path, label_map: Path | None
) -> tuple[Truth, tuple[str, ...]]:
    meta, owner = dataset.meta, str(dataset.location)
    config = known_classes(folder, meta.classes, meta.ignore, label_map)
    with reworded(owner):
        source = open_annotations(config)
        places = _places(dataset, source.numbers, str(source.location))
        grid, rows = _raster(dataset, judged)
        found = load_annotations(source, source.numbers, grid=grid, crop_rows=rows, config=config)
    table = places_of(found.names, found.ignore, meta.classes, label_map, owner)
    record = {"location": str(source.location), "format": source.format}
    return Truth(places, record, masks=np.asarray(table[found.masks])), found.notes


def _read_points(dataset: Dataset, judged: Judged, annotations: Path) -> Truth:
    source = open_keypoints(annotations)
    places = _places(dataset, source.numbers, str(source.path))
    names = dataset.meta.keypoints.names if dataset.meta.keypoints is not None else ()
    check_names(source, names, str(dataset.location))
    grid, rows = _raster(dataset, judged)
    pictures = find_pictures(None, source.path, source.numbers)
    sizes = {number: picture_size(path) for number, path in pictures.paths.items()}
    if not sizes:  # what was looked at is the dataset's own images
        sizes = dict.fromkeys(source.numbers, dataset.meta.shape)
    found = load_keypoints(source, source.numbers, grid=grid, crop_rows=rows, sizes=sizes)
    record = {"location": str(source.path), "format": "keypoints"}
    return Truth(places, record, points=found.points)


def _places(dataset: Dataset, numbers: Sequence[int], where: str) -> NDArray[np.int64]:
    """The positions in the dataset of the images with these numbers. Raises UsageError for others."""
    known = dataset.image_ids
    missing = sorted(set(numbers) - set(known.tolist()))
    if missing:
        raise UsageError(
            f"{where}: annotates {count(len(missing), 'image')} that {dataset.location} does not hold, "
            f"number {few(missing)}; expected numbers from {known.min()} to {known.max()}"
        )
    return np.searchsorted(known, np.asarray(numbers, np.int64))


def _raster(dataset: Dataset, judged: Judged) -> tuple[tuple[int, int], tuple[int, int]]:
    """The grid that annotations are fitted to, and the rows of it that the dataset's images show."""
    height, width = dataset.meta.shape
    info = judged.info
    if info is not None and (info.crop_rows[1] - info.crop_rows[0], info.grid[1]) == (height, width):
        return info.grid, info.crop_rows
    return (height, width), (0, height)
