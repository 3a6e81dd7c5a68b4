"""Decides the classes of annotations that have been read: what each value is, and the classes' colours.

The classes are those of the label map, else the configured ones, else those that the files name, else as many
as the greatest label needs. This module does not read annotations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fstore.meta import LARGEST_LABEL
from pipeline.errors import UsageError, few
from pipeline.inputs.annotations.classes.label_map import IGNORED, read_label_map
from pipeline.inputs.annotations.classes.matching import (
    Resolution,
    UsedLabel,
    by_color,
    by_format,
    by_label_map,
    by_name,
    padded,
)
from pipeline.inputs.annotations.classes.tally import LabelTally, common_palette
from pipeline.inputs.annotations.source import OUTSIDE, TRANSPARENT, AnnotationSource, SourceLabel
from pipeline.settings.classes import (
    BACKGROUND_NAMES,
    IGNORE_NAME,
    configured_classes,
    default_palette,
    unnamed_class,
)
from pipeline.settings.schema import AnnotationsConfig, ClassConfig

BACKGROUND = 0
WHITE = 255  # the value of the one class of a black and white mask
SPARSE = 8  # a note is given where there are this many classes for each label that occurs


@dataclass(frozen=True)
class ClassList:
    """The classes that values are compared with, and where they stand.

    named: whether a value is a class by what it is called; if not, it is the class's place in the list.
    """

    classes: tuple[ClassConfig, ...]
    origin: str
    named: bool


def class_list(source: AnnotationSource, config: AnnotationsConfig) -> ClassList:
    """The configured classes, else those that a file beside the masks lists."""
    classes, origin = configured_classes(config)
    ignores = any(entry.name.casefold() == IGNORE_NAME for entry in classes)
    listed = bool(source.classes) and not source.by_place
    named = bool(config.label_map or source.format != "masks" or listed or ignores)
    if classes or not source.classes:
        return ClassList(classes, origin, named)
    ordered = list(source.classes)
    if not source.by_place:
        ordered.sort(key=lambda entry: entry.name.casefold() not in BACKGROUND_NAMES)
    return ClassList(
        padded(ordered, config.num_classes, str(source.location)), str(source.classes_from), named
    )


def value_limit(source: AnnotationSource, config: AnnotationsConfig) -> int | None:
    """The values of masks are below this limit, except ignored ones.

    None where nothing says how many classes there are.
    """
    if config.label_map is not None:
        return None
    listed, configured = len(source.classes), len(configured_classes(config)[0])
    return (configured or listed if source.by_place else listed or configured) or config.num_classes


def ignored_values(source: AnnotationSource, config: AnnotationsConfig) -> frozenset[int]:
    """Values of masks that count nowhere: ``ignore``, and those of the format that are no class's."""
    limit = value_limit(source, config) or 0
    own = {value for value in source.ignored if value >= limit}
    return frozenset(own if config.ignore is None else {config.ignore, *own})


def resolve(
    source: AnnotationSource, tally: LabelTally, config: AnnotationsConfig
) -> tuple[Resolution, int, tuple[str, ...] | None]:
    """The class of each value, by its k; how many classes there are; and their colours."""
    known = class_list(source, config)
    if not known.named:
        return _by_value(source, tally, config, known)
    labels = {value: _label(source, value, known.classes) for value in sorted(tally.values)}
    ignored = _ignored(source, config, labels, known.classes)
    used = {
        value: UsedLabel(label, tally.pixels[value], tuple(tally.files[value]))
        for value, label in labels.items()
        if value not in ignored
    }
    resolution = _by_rule(source, list(used.values()), known, config)
    common_palette(tally.shown, LARGEST_LABEL + 1)  # refuses palettes that number their colours differently
    if source.format == "masks" and config.label_map is None:
        _check_palettes(tally, source.classes or configured_classes(config)[0])
    targets = dict(zip(used, resolution.targets, strict=True))
    ordered = tuple(targets.get(value, IGNORED) for value in tally.values)
    num_classes = len(resolution.classes)
    return replace(resolution, targets=ordered), num_classes, _colors(resolution.classes, None, num_classes)


def ignore_label(
    source: AnnotationSource, config: AnnotationsConfig, num_classes: int, resolution: Resolution
) -> int | None:
    """The label of ignored pixels in what is stored; None where there are none.

    Where masks' values are renumbered, an ``ignore`` among the new classes' labels gives way. Raises
    UsageError where it is a class of a format that names its classes.
    """
    ignore = config.ignore
    if ignore is not None and ignore < num_classes and class_list(source, config).named:
        if source.format != "masks" and config.label_map is None:
            name = resolution.classes[ignore].name
            raise UsageError(
                f"{source.location}: --ignore is {ignore}, which is class {name!r}; expected a label that is "
                f"none of the {num_classes} classes, such as {_free_label(source, num_classes)}"
            )
        ignore = _free_label(source, num_classes)
    wanted = config.small_classes == "ignore" or IGNORED in resolution.targets
    return _free_label(source, num_classes) if ignore is None and wanted else ignore


def ignore_note(
    source: AnnotationSource, tally: LabelTally, config: AnnotationsConfig, resolution: Resolution, label: int
) -> str | None:
    """A line about pixels that the annotations themselves ignore, where the user did not choose ``label``."""
    if config.ignore is not None:
        return None
    classes = class_list(source, config).classes
    ends = [value for value, end in zip(tally.values, resolution.targets, strict=True) if end == IGNORED]
    found = {value: _label(source, value, classes) for value in ends}
    titles = [
        str(value) if source.format == "masks" and value in source.ignored else label.title
        for value, label in found.items()
        if label.is_ignored or value in source.ignored
    ]
    if not titles:
        return None
    return (
        f"{source.location}: pixels labelled {few(titles)} are ignored: they count in no loss and no score, "
        f"and are stored as label {label}"
    )


def _by_value(
    source: AnnotationSource, tally: LabelTally, config: AnnotationsConfig, known: ClassList
) -> tuple[Resolution, int, tuple[str, ...] | None]:
    """Masks whose values are the classes' places in the list."""
    ignored = ignored_values(source, config)
    found = set(tally.values) - ignored
    limit = len(known.classes) or config.num_classes
    if found == {BACKGROUND, WHITE} and limit in (None, 2):
        note = f"{source.location}: the masks hold 0 and {WHITE} alone: {WHITE} is taken as class 1"
        targets = tuple(min(value, 1) if value in found else IGNORED for value in tally.values)
        return Resolution(targets, known.classes, (note,)), 2, _colors(known.classes, None, 2)
    if limit is not None and any(value >= limit for value in found):
        raise UsageError(
            f"{source.location}: label {WHITE} in {few(tally.files[WHITE])} is out of range; expected 0 to "
            f"{limit - 1}, or 0 and {WHITE} alone in all masks"
        )
    num_classes = limit or _count_classes(source, found)
    _check_palettes(tally, known.classes)
    palette = common_palette(tally.shown, num_classes)
    targets = tuple(IGNORED if value in ignored else value for value in tally.values)
    notes = (*([] if limit else _sparse_note(source, found, num_classes)), *_index_note(tally, known.classes))
    return (
        Resolution(targets, known.classes, notes),
        num_classes,
        _colors(known.classes, palette, num_classes),
    )


def _by_rule(
    source: AnnotationSource, used: Sequence[UsedLabel], known: ClassList, config: AnnotationsConfig
) -> Resolution:
    location = str(source.location)
    if config.label_map is not None:
        return by_label_map(location, used, read_label_map(config.label_map))
    if source.format == "color" and not source.classes:
        if not any(entry.color for entry in known.classes):
            raise UsageError(
                f"{source.where(source.numbers[0])}: the PNG's pixels are colours, and no class has one; "
                'expected [[annotations.classes]] with color = "#rrggbb", a classes_file or a --label-map; '
                "or labels: save it as 8-bit greyscale (L) whose values are the labels, as palette (P), or "
                "as .npy"
            )
        return by_color(location, used, known.classes, known.origin)
    if known.classes:
        return by_name(location, used, known.classes, known.origin)
    return by_format(location, used, source.labels or (), config.num_classes)


def _ignored(
    source: AnnotationSource,
    config: AnnotationsConfig,
    labels: Mapping[int, SourceLabel],
    classes: Sequence[ClassConfig],
) -> frozenset[int]:
    """The values that are no label: a mask's ``ignore``, and the format's unless a class has its colour."""
    if source.format == "masks":
        return ignored_values(source, config)
    colors = {entry.color for entry in classes}
    return frozenset(
        value for value in source.ignored & labels.keys() if not colors & set(labels[value].names)
    )


def _label(source: AnnotationSource, value: int, classes: Sequence[ClassConfig]) -> SourceLabel:
    """What a value means, by the format and by the listed class of that number or colour."""
    if source.labels is not None:
        return source.labels[value]
    listed = source.classes or classes
    if source.format == "color":
        if value == TRANSPARENT:
            return OUTSIDE
        color = color_name(value)
        names = [entry.name for entry in listed if entry.color == color]
        is_black = value == 0 and not any(entry.color for entry in listed)  # unless a map says else
        return SourceLabel(None, (*names, color) if source.classes else (color, *names), outside=is_black)
    if 0 <= value < len(listed):
        name = listed[value].name
    else:
        name = unnamed_class(value, {entry.name.casefold() for entry in listed})
    return SourceLabel(value, (name,), outside=value == BACKGROUND and not source.classes)


def color_name(value: int) -> str:
    """``#rrggbb`` of a colour mask's value."""
    return f"#{value:06x}"


def _colors(
    classes: Sequence[ClassConfig], palette: tuple[str, ...] | None, num_classes: int
) -> tuple[str, ...] | None:
    """The classes' own colours over those of the files' palette; None where neither has any."""
    if not any(entry.color for entry in classes):
        return palette
    base = palette or tuple(default_palette(num_classes))
    return tuple(entry.color or color for entry, color in zip(classes, base, strict=True))


def _check_palettes(tally: LabelTally, classes: Sequence[ClassConfig]) -> None:
    """Refuse palettes that show every label in a class's colour, and one in another class's."""
    names = {entry.color: entry.name for entry in classes if entry.color}
    for where, palette, labels in tally.shown:
        if palette is None or len(names) < 2 or not all(label < len(palette) for label in labels):
            continue
        moved = [label for label in labels if palette[label] != classes[label].color]
        if moved and all(palette[label] in names for label in labels):
            color = palette[moved[0]]
            raise UsageError(
                f"{where}: its palette shows label {moved[0]} ({classes[moved[0]].name!r}) as {color}, the "
                f"colour of class {names[color]!r}; pass --annotation-format color if the colours are meant, "
                "or mend the palette or the classes' colours"
            )


def _index_note(tally: LabelTally, classes: Sequence[ClassConfig]) -> tuple[str, ...]:
    """A line where palettes look as if an editor had numbered the colours as it liked."""
    if any(entry.color for entry in classes):
        return ()
    for where, palette, labels in tally.shown:
        shown = {palette[label]: label for label in labels if palette and label < len(palette)}
        if palette and shown.get("#000000", 0) > 0:
            return (
                f"{where}: its palette shows label {shown['#000000']} in black, and label 0, the background, "
                f"as {palette[0]}; labels are the palette's indices: if the colours are meant, give each "
                "class its color and pass --annotation-format color",
            )
    return ()


def _count_classes(source: AnnotationSource, labels: set[int]) -> int:
    if not labels:
        raise UsageError(
            f"{source.location}: every pixel of every mask is ignored; expected annotated pixels"
        )
    if (
        WHITE in labels and max(labels - {WHITE}, default=0) < 128
    ):  # by custom "no label"; taken as a class it would make 256 of them
        raise UsageError(
            f"{source.location}: masks hold label 255, and else none above 127; pass --ignore 255 if it "
            "marks pixels without a label, a --label-map with from = [255] if it is one of few classes, or "
            f"--num-classes {max(labels) + 1} if it is class 255"
        )
    return max(labels) + 1


def _sparse_note(source: AnnotationSource, labels: set[int], num_classes: int) -> tuple[str, ...]:
    if num_classes <= 2 * SPARSE or num_classes < SPARSE * len(labels):
        return ()
    return (
        f"{source.location}: the masks hold the labels {few([str(label) for label in sorted(labels)], 8)}, "
        f"which makes {num_classes} classes; if they are grey levels, or numbers of a longer list, map them "
        "with --label-map",
    )


def _free_label(source: AnnotationSource, num_classes: int) -> int:
    if num_classes > LARGEST_LABEL:
        raise UsageError(
            f"{source.location}: {num_classes} classes leave no label to ignore pixels with; expected at "
            f"most {LARGEST_LABEL}: mend the masks, or set small_classes to background"
        )
    return 255 if num_classes <= 255 else LARGEST_LABEL
