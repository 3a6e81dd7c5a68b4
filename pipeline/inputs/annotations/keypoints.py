"""Brings keypoints to the feature grid, and makes the masks by whose classes their pixels are drawn.

It knows the geometry of image, grid and crop. It does not know file formats, generators or stores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError, few
from pipeline.inputs.annotations.formats.keypoint_files import KeypointSource
from pipeline.inputs.annotations.raster.fitting import raster_of
from pipeline.labelling.heat_maps import default_sigma, region_mask

BACKGROUND = "background"
SLACK = 1.0  # pixels of the annotated image that a point may lie outside it


@dataclass(frozen=True)
class KeypointAnnotations:
    """Keypoints on the feature grid.

    points: (N, K, 3) float32 x, y in pixels after the crop, and 1, or zeros where a point is not labelled or
    cut off. names: K. sigma: of the heat maps, in pixels. masks: (N, H, W), k + 1 around keypoint k, else 0.
    """

    points: NDArray[np.float32]
    names: tuple[str, ...]
    sigma: float
    masks: NDArray[Any]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the masks' classes: the background, then the keypoints."""
        return (BACKGROUND if BACKGROUND not in self.names else "no keypoint", *self.names)


def load_keypoints(
    source: KeypointSource,
    numbers: Sequence[int],
    *,
    grid: tuple[int, int],
    crop_rows: tuple[int, int] | None = None,
    sigma: float | None = None,
    sizes: Mapping[int, tuple[int, int]] | None = None,
) -> KeypointAnnotations:
    """The keypoints of the images ``numbers`` in pixels of rows ``crop_rows`` [a, b) of ``grid`` (h, w).

    Coordinates are in pixels of the image whose size the file gives; its aspect says whether that image is
    whole or cropped. Where the file gives no size, they are in pixels of the pictures, whose (height, width)
    ``sizes`` gives by image number. Where there are no pictures either, they are in pixels of the grid.
    ``sigma``: pixels of the grid; None: a 64th of its rows. Raises UsageError, one line, for an image without
    keypoints, pictures of some of the images only, points outside their image, another aspect, or where
    nothing is labelled.
    """
    rows = crop_rows or (0, grid[0])
    places = {number: place for place, number in enumerate(source.numbers)}
    missing = [number for number in numbers if number not in places]
    if missing:
        raise UsageError(
            f"{source.path}: {len(missing)} of {len(numbers)} images have no keypoints, the first is image "
            f"{missing[0]}; expected some for each of the latents, by its number"
        )
    chosen = [places[number] for number in numbers]
    points = source.points[chosen]  # [N, K, 3], a copy
    check_scale(source, points, grid)
    found = _sizes(source, numbers, chosen, sizes or {})
    for place, number in enumerate(numbers):
        size = None if found is None else found[place]
        points[place] = place_points(source, number, points[place], size, grid, rows)
    height, width = rows[1] - rows[0], grid[1]
    inside = (points[..., :2] >= 0).all(axis=2) & (points[..., 0] <= width) & (points[..., 1] <= height)
    points[~inside] = 0
    if not points[..., 2].any():
        raise UsageError(f"{source.path}: no keypoint is labelled within the images; check its coordinates")
    sigma = sigma or default_sigma(grid[0])
    masks = np.empty((len(points), height, width), np.uint8 if points.shape[1] <= 255 else np.uint16)
    for mask, image in zip(masks, points, strict=True):
        mask[...] = region_mask(image, height, width, sigma)
    return KeypointAnnotations(points.astype(np.float32), source.names, sigma, masks)


def check_names(source: KeypointSource, names: Sequence[str], owner: str) -> None:
    """Refuse keypoints that are not the ``names`` of ``owner`` in their order; files without names have none
    to differ. Raises UsageError.
    """
    unnamed = tuple(f"keypoint_{k}" for k in range(len(names)))  # as files are read that have no names
    if source.names not in (tuple(names), unnamed):
        raise UsageError(
            f"{source.path}: annotates the keypoints {few(source.names)}, {owner} has {few(names)}; expected "
            "the same ones in the same order"
        )


def _sizes(
    source: KeypointSource,
    numbers: Sequence[int],
    chosen: Sequence[int],
    sizes: Mapping[int, tuple[int, int]],
) -> list[tuple[int, int]] | None:
    """What the coordinates of each image count, (height, width); None: the grid."""
    if source.sizes is not None:
        return [(int(height), int(width)) for height, width in source.sizes[chosen]]
    without = [number for number in numbers if number not in sizes]
    if without and len(without) < len(numbers):
        raise UsageError(
            f"{source.path}: does not say what its coordinates count, and {len(without)} of {len(numbers)} "
            f"images have no picture that would, the first is image {without[0]}; expected one for each, or "
            "none: add them, or save a .npz with image_size [height, width]"
        )
    return None if without else [sizes[number] for number in numbers]


def check_scale(source: KeypointSource, points: NDArray[np.float64], grid: tuple[int, int]) -> None:
    """Refuse shares of the image's sides in place of pixels. Raises UsageError."""
    labelled = points[points[..., 2] > 0][:, :2]  # [m, 2]
    if len(labelled) > 1 and min(grid) > 2 and 0 <= labelled.min() <= labelled.max() <= 1:
        raise UsageError(
            f"{source.path}: all coordinates lie between 0 and 1; expected pixels: multiply x by the image's "
            "width and y by its height"
        )


def place_points(
    source: KeypointSource,
    number: int,
    points: NDArray[np.float64],
    size: tuple[int, int] | None,
    grid: tuple[int, int],
    rows: tuple[int, int],
) -> NDArray[np.float64]:
    """(K, 3) in pixels of an image of ``size``, of the grid if None -> in pixels of the grid after the crop.

    Raises UsageError, one line, for a labelled point outside its image, and for another aspect.
    """
    height, width = size or grid
    outside = (points[:, :2] < -SLACK) | (points[:, :2] > np.array([width, height]) + SLACK)
    if outside.any():
        k = int(np.argwhere(outside)[0, 0])
        hint = ": scale the coordinates, or save a .npz with image_size [height, width]"
        raise UsageError(
            f"{source.path}: image {number}, keypoint {source.names[k]!r} is at x {points[k, 0]:g}, "
            f"y {points[k, 1]:g}; expected within the image of {height} x {width} (rows x columns)"
            + (hint if size is None else "")
        )
    target, top = raster_of(f"{source.path}: image {number}", (height, width), grid, rows)
    scale = np.array([target[1] / width, target[0] / height, 1.0])
    return np.where(points[:, 2:] > 0, points * scale - (0, top, 0), 0.0)
