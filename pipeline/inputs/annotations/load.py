"""Annotations of any format, checked and brought to the feature grid: one (N, H, W) array of class labels.

``open_annotations`` says which images are annotated, ``load_annotations`` reads the masks of chosen ones.
It knows label ranges and classes. It does not know latents, generators or stores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fstore.meta import LARGEST_LABEL
from pipeline.errors import UsageError
from pipeline.inputs.annotations.classes.label_map import IGNORED
from pipeline.inputs.annotations.classes.resolve import (
    WHITE,
    ignore_label,
    ignore_note,
    ignored_values,
    resolve,
    value_limit,
)
from pipeline.inputs.annotations.classes.tally import LabelTally, check_range
from pipeline.inputs.annotations.formats.detect import EXPECTED, open_source
from pipeline.inputs.annotations.raster.fitting import BACKGROUND, drop_small_classes, fit_to_grid
from pipeline.inputs.annotations.source import AnnotationSource
from pipeline.settings.classes import configured_classes, listed_ignore
from pipeline.settings.schema import AnnotationsConfig

MAX_COLORS = 65536


@dataclass(frozen=True)
class Annotations:
    """Masks and what their labels mean.

    masks: (N, H, W) uint8, or uint16 where num_classes - 1 or ``ignore`` exceeds 255.
    num_classes: labels are 0 (background) to num_classes - 1.
    palette: "#rrggbb" of each class where the classes or the files have colours, else None.
    ignore: the label of pixels that count in no loss, metric or sample; None where there are none.
    names: of the classes, where the label map, the configuration or the format has them, else None.
    notes: sentences for the user, of what was left out or looks odd.
    """

    masks: NDArray[Any]
    num_classes: int
    palette: tuple[str, ...] | None
    ignore: int | None
    names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SettledLabels:
    """What the values of masks mean: ``table[k]`` is the label of the k-th value met. The rest is as in
    `Annotations`.
    """

    table: NDArray[Any]
    num_classes: int
    palette: tuple[str, ...] | None
    ignore: int | None
    names: tuple[str, ...] | None
    notes: tuple[str, ...]


def open_annotations(config: AnnotationsConfig) -> AnnotationSource:
    """The annotations in ``config.folder``, a folder or a COCO file, of ``config.format`` or as detected.

    Raises UsageError, one line, where none are found, and for files that are broken or contradict each other.
    """
    if config.folder is None:
        raise UsageError(
            "no annotations are given; pass --annotations, or set [annotations] folder in the configuration; "
            f"expected {EXPECTED}"
        )
    classes, _ = configured_classes(config)
    return open_source(config.folder, config.format, config.overlap, classes)


def load_annotations(
    source: AnnotationSource,
    numbers: Sequence[int],
    *,
    grid: tuple[int, int],
    crop_rows: tuple[int, int] | None = None,
    config: AnnotationsConfig,
) -> Annotations:
    """Masks of the images ``numbers``, in that order, fitted to rows ``crop_rows`` [a, b) of ``grid`` (h, w).

    The classes are those of ``config.label_map``, else the configured ones, else those that the files name,
    else as many as the greatest label needs, without ``ignore``. Masks of 0 and 255 alone have two classes. A
    class
    with fewer than ``config.min_pixels`` pixels in an image, counted after resizing and cropping, becomes
    background there (``small_classes="background"``, the rule of the released DatasetGAN code) or ignored
    (``"ignore"``; if ``ignore`` is None, the label is 255, or 65535 where there are more than 255 classes).
    Labels ``__ignore__`` are ignored in the same way. Raises UsageError, one line, that names the file, for
    masks that are unreadable, wrongly shaped or out of range; it lists labels that are no class.
    """
    rows = crop_rows or (0, grid[0])
    if not 0 <= rows[0] < rows[1] <= grid[0]:
        raise UsageError(
            f"{source.location}: crop_rows is {rows}; expected a < b within the grid's {grid[0]} rows"
        )
    config = with_ignore(source, config)
    fitted, tally = _read(source, numbers, grid, rows, config)
    settled = settle(source, tally, config)
    # In the memory of ``fitted``: mask i ends no later than what was read of image i.
    dtype = settled.table.dtype
    masks = fitted.reshape(-1).view(dtype)[: fitted.size].reshape(fitted.shape)  # [N, H, W]
    for place in range(len(masks)):
        mask = settled.table[fitted[place]]
        small = settled.ignore if config.small_classes == "ignore" else BACKGROUND
        drop_small_classes(mask, config.min_pixels, settled.ignore, small)
        masks[place] = mask
    return Annotations(
        masks, settled.num_classes, settled.palette, settled.ignore, settled.names, settled.notes
    )


def settle(source: AnnotationSource, tally: LabelTally, config: AnnotationsConfig) -> SettledLabels:
    """What the values of all masks that were read mean; ``config`` is that of `with_ignore`."""
    resolution, num_classes, colors = resolve(source, tally, config)
    ignore = ignore_label(source, config, num_classes, resolution)
    dtype = np.dtype(np.uint8 if max(num_classes - 1, ignore or 0) <= 255 else np.uint16)
    table = np.array([ignore if t == IGNORED else t for t in resolution.targets], dtype)
    names = tuple(entry.name for entry in resolution.classes) or None
    ignored = None if ignore is None else ignore_note(source, tally, config, resolution, ignore)
    notes = (*source.notes, *resolution.notes, *([ignored] if ignored else []), *_transparent(source, tally))
    return SettledLabels(table, num_classes, colors, ignore, names, notes)


def with_ignore(source: AnnotationSource, config: AnnotationsConfig) -> AnnotationsConfig:
    """The configuration with the label that counts nowhere of the list of classes in use."""
    return replace(config, ignore=_ignore(source, config))


def _ignore(source: AnnotationSource, config: AnnotationsConfig) -> int | None:
    """The label that counts nowhere: the configured one, else that of the list of classes in use."""
    if config.ignore is not None:
        return config.ignore
    configured = configured_classes(config)[0]
    return listed_ignore(config.classes_file if configured else source.classes_from)


def _read(
    source: AnnotationSource,
    numbers: Sequence[int],
    grid: tuple[int, int],
    rows: tuple[int, int],
    config: AnnotationsConfig,
) -> tuple[NDArray[np.uint16], LabelTally]:
    """(N, H, W): for each pixel which of the values met it has, and the tally of them."""
    tally = LabelTally()
    fitted = np.empty((len(numbers), rows[1] - rows[0], grid[1]), np.uint16)  # MAX_COLORS values
    read = value_reader(source, config)
    for index, number in enumerate(numbers):
        fitted[index] = fit_to_grid(source.where(number), read(number, tally), grid, rows)
    return fitted, tally


def value_reader(
    source: AnnotationSource, config: AnnotationsConfig
) -> Callable[[int, LabelTally], NDArray[np.uint32]]:
    """What reads one image's mask and counts it: number and tally -> (h, w), which of the values met in any
    mask each pixel has.
    """
    ignored, check = ignored_values(source, config), _range_check(source, config)
    palettes: dict[tuple[str, ...], tuple[str, ...]] = {}  # most masks have the same one

    def read(number: int, tally: LabelTally) -> NDArray[np.uint32]:
        where, found = source.where(number), source.read(number)
        check(where, found.labels)
        places = tally.add(source.files[number], found.labels)
        if len(tally.values) > MAX_COLORS:
            raise UsageError(
                f"{where}: the masks hold over {MAX_COLORS} colours; expected one a class: is it a picture?"
            )
        used = np.unique(found.labels).astype(np.int64).tolist() if found.palette is not None else []
        palette = found.palette and palettes.setdefault(found.palette, found.palette)
        tally.shown.append((where, palette, [label for label in used if label not in ignored]))
        if found.transparent:
            tally.transparent[source.files[number]] = found.transparent
        return places

    return read


def _range_check(source: AnnotationSource, config: AnnotationsConfig) -> Callable[[str, NDArray[Any]], None]:
    """What refuses the values of a mask that are out of range; a black and white mask may be of two
    classes.
    """
    if source.format != "masks":
        return lambda where, labels: None
    limit, ignored = value_limit(source, config), ignored_values(source, config)
    classes, origin = configured_classes(config)
    listed = source.classes_from or (origin if classes else None)
    way_out = f"add the class to {listed}" if listed else "set num_classes"

    def check(where: str, labels: NDArray[Any]) -> None:
        if limit != 2 or not set(np.unique(labels).tolist()) <= {BACKGROUND, WHITE}:
            check_range(where, labels, limit or LARGEST_LABEL + 1, ignored, way_out)

    return check


def _transparent(source: AnnotationSource, tally: LabelTally) -> tuple[str, ...]:
    if not tally.transparent:
        return ()
    name, count = next(iter(tally.transparent.items()))
    more = len(tally.transparent) - 1
    return (
        f"{source.location}: {count} pixels of {name}"
        + (f", and pixels of {more} more," if more else "")
        + " are transparent: they are taken as background",
    )
