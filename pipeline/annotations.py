"""A folder of annotation masks, checked and brought to the feature grid: one (N, H, W) array of labels.

Knows label ranges and aspect ratios. Does not know images, generators or stores.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.mask_files import find_masks, read_mask

BACKGROUND = 0
MAX_LABEL = 65535


@dataclass(frozen=True)
class Annotations:
    """Masks and what their labels mean.

    masks: (N, H, W) uint8, or uint16 where num_classes - 1 or ``ignore`` exceeds 255.
    num_classes: labels are 0 (background) to num_classes - 1.
    palette: "#rrggbb" of each class where the files have one, else None.
    ignore: the label of pixels that count in no loss, metric or sample; None where there are none.
    """

    masks: NDArray[Any]
    num_classes: int
    palette: tuple[str, ...] | None
    ignore: int | None


def load_masks(
    folder: str | os.PathLike[str],
    num_images: int,
    *,
    grid: tuple[int, int],
    crop_rows: tuple[int, int] | None = None,
    num_classes: int | None = None,
    ignore: int | None = None,
    min_pixels: int = 30,
    small_classes: str = "background",
) -> Annotations:
    """Read a mask for each of ``num_images`` images, fitted to rows ``crop_rows`` [a, b) of ``grid`` (h, w).

    ``num_classes`` None: the greatest label in the files, ``ignore`` aside, plus one. A class with fewer than
    ``min_pixels`` pixels in an image, counted after resizing and cropping, becomes background there
    (``small_classes="background"``, the rule of the released DatasetGAN code) or ignored (``"ignore"``; label
    255 then, or 65535 over 255 classes, if ``ignore`` is None). Raises UsageError, one line, naming file or
    folder, for masks that are missing, surplus, misnumbered, unreadable, wrongly shaped or out of range.
    """
    if small_classes not in ("background", "ignore"):
        raise ValueError(f'small_classes is {small_classes!r}; expected "background" or "ignore"')
    rows = crop_rows or (0, grid[0])
    if not 0 <= rows[0] < rows[1] <= grid[0]:
        raise UsageError(f"{folder}: crop_rows is {rows}; expected a < b within the grid's {grid[0]} rows")
    limit = MAX_LABEL + 1 if num_classes is None else num_classes
    fitted: list[NDArray[Any]] = []
    shown: list[_Shown] = []
    for path in find_masks(folder, num_images):
        found = read_mask(path)
        _check_range(path, found.labels, limit, ignore)
        labels = found.labels.astype(np.uint16)  # [h, w]
        fitted.append(_fit(path, labels, grid, rows))
        shown.append(_Shown(path, found.palette, [k for k in np.unique(labels).tolist() if k != ignore]))
    num_classes = num_classes or _count_classes(folder, shown)
    if small_classes == "ignore" and ignore is None:
        ignore = _free_label(folder, num_classes)
    masks = np.stack(fitted)  # [N, H, W]
    for mask in masks:
        _drop_small_classes(mask, min_pixels, ignore, ignore if small_classes == "ignore" else BACKGROUND)
    dtype = np.uint8 if max(num_classes - 1, ignore or 0) <= 255 else np.uint16
    return Annotations(masks.astype(dtype), num_classes, _common_palette(shown, num_classes), ignore)


def resize_nearest(labels: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """(h, w) -> (height, width), nearest at pixel centres: source index floor((i + 0.5) * in / out)."""
    rows = (2 * np.arange(height) + 1) * labels.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * labels.shape[1] // (2 * width)
    return labels[rows[:, None], columns[None, :]]  # [height, width]


def default_palette(num_classes: int) -> list[str]:
    """``num_classes`` colours "#rrggbb": black for background, then each as far from those before as can be.

    The colours of fewer classes are the first of those of more. Far means distant in RGB, on a lattice of 216
    colours; past these, colours are merely scattered.
    """
    levels = np.arange(0, 256, 51)
    lattice = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(
        -1, 3
    )  # [216, rgb]
    chosen = [0]
    nearest = np.full(len(lattice), np.inf)  # squared distance of each colour to the chosen ones
    while len(chosen) < min(num_classes, len(lattice)):
        nearest = np.minimum(nearest, ((lattice - lattice[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(nearest.argmax()))
    colors = ["#{:02x}{:02x}{:02x}".format(*lattice[i]) for i in chosen]
    colors += [f"#{i * 0x9E3779 % 0xFFFFFF:06x}" for i in range(len(lattice), num_classes)]
    return colors[:num_classes]


@dataclass(frozen=True)
class _Shown:
    """The labels that one file uses, ignored ones aside, and the colours of its palette."""

    path: Path
    palette: tuple[str, ...] | None
    labels: list[int]


def _check_range(path: Path, labels: NDArray[Any], num_classes: int, ignore: int | None) -> None:
    outside = (labels < 0) | (labels >= num_classes)
    if ignore is not None:
        outside &= labels != ignore
    if not outside.any():
        return
    row, column = (int(i) for i in np.argwhere(outside)[0])
    also = "" if ignore is None else f", or {ignore} (ignored)"
    raise UsageError(
        f"{path}: label {labels[row, column]} at row {row}, column {column} is out of range, as "
        f"{int(outside.sum())} of {labels.size} pixels are; expected 0 to {num_classes - 1}{also}: "
        "mend the mask, or set num_classes or ignore"
    )


def _fit(path: Path, labels: NDArray[Any], grid: tuple[int, int], rows: tuple[int, int]) -> NDArray[Any]:
    """(h, w) -> (b - a, Wg): the grid's aspect is resized, then cropped; the crop's is resized."""
    cropped = (rows[1] - rows[0], grid[1])
    to_grid, to_cropped = _aspect_error(labels.shape, grid), _aspect_error(labels.shape, cropped)
    if min(to_grid, to_cropped) >= 1:
        either = "" if cropped == grid else f", or of the cropped {cropped[0]} x {cropped[1]}"
        raise UsageError(
            f"{path}: the mask is {labels.shape[0]} x {labels.shape[1]} (rows x columns); "
            f"expected the aspect of the grid, {grid[0]} x {grid[1]}{either}"
        )
    if to_grid <= to_cropped:
        return resize_nearest(labels, *grid)[rows[0] : rows[1]]  # [H, W]
    return resize_nearest(labels, *cropped)  # [H, W]


def _aspect_error(shape: tuple[int, ...], target: tuple[int, int]) -> Fraction:
    """By how many pixels one side of ``shape`` misses the length that the other gives it at that aspect."""
    return Fraction(abs(shape[0] * target[1] - shape[1] * target[0]), max(target))


def _count_classes(folder: str | os.PathLike[str], shown: Sequence[_Shown]) -> int:
    labels = {label for file in shown for label in file.labels}
    if not labels:
        raise UsageError(f"{folder}: every pixel of every mask is ignored; expected annotated pixels")
    if (
        255 in labels and max(labels - {255}, default=0) < 128
    ):  # by custom "no label"; taken as a class it would make 256 of them
        raise UsageError(
            f"{folder}: masks hold label 255, and else none above 127; pass --ignore 255 if it marks pixels "
            "without a label, "
            f"or --num-classes {max(labels) + 1} if it is a class"
        )
    return max(labels) + 1


def _free_label(folder: str | os.PathLike[str], num_classes: int) -> int:
    if num_classes > MAX_LABEL:
        raise UsageError(
            f"{folder}: {num_classes} classes leave no label to ignore small classes with; expected at most "
            f"{MAX_LABEL}: mend the masks, or set small_classes to background"
        )
    return 255 if num_classes <= 255 else MAX_LABEL


def _drop_small_classes(mask: NDArray[Any], min_pixels: int, ignore: int | None, target: int | None) -> None:
    """In place: every class but background with fewer than ``min_pixels`` pixels becomes ``target``."""
    present, counts = np.unique(mask, return_counts=True)
    for label, count in zip(present.tolist(), counts.tolist(), strict=True):
        if count < min_pixels and label not in (BACKGROUND, ignore):
            mask[mask == label] = target


def _common_palette(files: Sequence[_Shown], num_classes: int) -> tuple[str, ...] | None:
    """The classes' colours as the files' palettes have them; None if no file has one.

    Two colours for one label are refused: converting colour pictures to palettes one by one numbers the
    colours of each anew, and a label would mean one class here and another there.
    """
    colors: list[str] | None = None
    first: dict[int, tuple[str, Path]] = {}
    for file in files:
        palette = file.palette
        if palette is None:
            continue
        if colors is None:
            colors = [*palette[:num_classes], *default_palette(num_classes)[len(palette) :]]
        for label in [label for label in file.labels if label < len(palette)]:
            color, where = first.setdefault(label, (palette[label], file.path))
            if color != palette[label]:
                raise UsageError(
                    f"{file.path}: its palette shows label {label} as {palette[label]}, that of {where.name} "
                    f"as {color}; expected one palette for all masks: save them with one, or as greyscale (L)"
                )
            colors[label] = color
    return None if colors is None else tuple(colors)
