"""The classes of annotations that have been read: which rule says what each value is, and their colours.

The label map's classes come first, then the configured ones, then those that the files name, then as many as
the greatest label asks for. Does not read annotations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline.errors import UsageError
from pipeline.inputs.annotations.classes.label_map import IGNORED, SourceLabel, read_label_map
from pipeline.inputs.annotations.classes.label_resolution import (
    Resolution,
    UsedLabel,
    by_color,
    by_format,
    by_label_map,
    by_name,
)
from pipeline.inputs.annotations.classes.label_tally import LabelTally
from pipeline.inputs.annotations.formats.color_masks import TRANSPARENT, color_name
from pipeline.inputs.annotations.formats.source import OUTSIDE, AnnotationSource
from pipeline.inputs.annotations.raster.fitting import BACKGROUND
from pipeline.settings.classes import configured_classes
from pipeline.settings.palettes import common_palette, default_palette
from pipeline.settings.schema import AnnotationsConfig, ClassConfig

MAX_LABEL = 65535


def resolve(
    source: AnnotationSource, tally: LabelTally, config: AnnotationsConfig
) -> tuple[Resolution, int, tuple[str, ...] | None]:
    """The class of each value, by its k; how many classes there are; and their colours."""
    classes, origin = configured_classes(config)
    named = source.format != "masks"
    if not named and config.label_map is None:
        num_classes = len(classes) or config.num_classes or _count_classes(source, tally, config.ignore)
        return (
            Resolution(tuple(tally.values), classes),
            num_classes,
            _colors(classes, common_palette(tally.shown, num_classes), num_classes),
        )
    counted = [value for value in sorted(tally.values) if named or value != config.ignore]
    used = [
        UsedLabel(_label(source, value, classes), tally.pixels[value], tuple(tally.files[value]))
        for value in counted
    ]
    resolution = _by_rule(source, used, classes, origin, config)
    common_palette(tally.shown, MAX_LABEL + 1)  # refuses palettes that number their colours differently
    targets = dict(zip(counted, resolution.targets, strict=True))
    ordered = tuple(targets.get(value, IGNORED) for value in tally.values)
    num_classes = len(resolution.classes)
    return replace(resolution, targets=ordered), num_classes, _colors(resolution.classes, None, num_classes)


def _by_rule(
    source: AnnotationSource,
    used: Sequence[UsedLabel],
    classes: tuple[ClassConfig, ...],
    origin: str,
    config: AnnotationsConfig,
) -> Resolution:
    location = str(source.location)
    if config.label_map is not None:
        return by_label_map(location, used, read_label_map(config.label_map))
    if source.format == "color":
        if not any(entry.color for entry in classes):
            raise UsageError(
                f"{source.where(source.numbers[0])}: the PNG's pixels are colours, and no class has one; "
                'expected [[annotations.classes]] with color = "#rrggbb", a classes_file or a --label-map; '
                "or labels: save it as 8-bit greyscale (L) whose values are the labels, as palette (P), or "
                "as .npy"
            )
        return by_color(location, used, classes, origin)
    if classes:
        return by_name(location, used, classes, origin)
    return by_format(location, used, source.labels or (), config.num_classes)


def _label(source: AnnotationSource, value: int, classes: Sequence[ClassConfig]) -> SourceLabel:
    """What a value means, by the format and by the configured class of that number or colour."""
    if source.labels is not None:
        return source.labels[value]
    if source.format == "color":
        if value == TRANSPARENT:
            return OUTSIDE
        color = color_name(value)
        names = [entry.name for entry in classes if entry.color == color]
        is_black = value == 0 and not any(
            entry.color for entry in classes
        )  # background, unless a map says else
        return SourceLabel(None, (color, *names), outside=is_black)
    name = classes[value].name if value < len(classes) else f"class_{value}"
    return SourceLabel(value, (name,), outside=value == BACKGROUND)


def _colors(
    classes: Sequence[ClassConfig], palette: tuple[str, ...] | None, num_classes: int
) -> tuple[str, ...] | None:
    """The classes' own colours over those of the files' palette; None where neither has any."""
    if not any(entry.color for entry in classes):
        return palette
    base = palette or tuple(default_palette(num_classes))
    return tuple(entry.color or color for entry, color in zip(classes, base, strict=True))


def ignore_label(
    source: AnnotationSource, config: AnnotationsConfig, num_classes: int, resolution: Resolution
) -> int | None:
    """The label of ignored pixels. A label map renumbers: an ``ignore`` among its classes' labels gives
    way.
    """
    ignore = config.ignore
    if config.label_map is not None and ignore is not None and ignore < num_classes:
        ignore = _free_label(source, num_classes)
    wanted = config.small_classes == "ignore" or IGNORED in resolution.targets
    return _free_label(source, num_classes) if ignore is None and wanted else ignore


def _count_classes(source: AnnotationSource, tally: LabelTally, ignore: int | None) -> int:
    labels = set(tally.values) - {ignore}
    if not labels:
        raise UsageError(
            f"{source.location}: every pixel of every mask is ignored; expected annotated pixels"
        )
    if (
        255 in labels and max(labels - {255}, default=0) < 128
    ):  # by custom "no label"; taken as a class it would make 256 of them
        raise UsageError(
            f"{source.location}: masks hold label 255, and else none above 127; pass --ignore 255 if it "
            "marks pixels without a label, a --label-map with from = [255] if it is one of few classes, as "
            f"in masks of 0 and 255, or --num-classes {max(labels) + 1} if it is class 255"
        )
    return max(labels) + 1


def _free_label(source: AnnotationSource, num_classes: int) -> int:
    if num_classes > MAX_LABEL:
        raise UsageError(
            f"{source.location}: {num_classes} classes leave no label to ignore pixels with; expected at "
            f"most {MAX_LABEL}: mend the masks, or set small_classes to background"
        )
    return 255 if num_classes <= 255 else MAX_LABEL
