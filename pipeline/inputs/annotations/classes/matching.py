"""Says which class each label of the annotations is.

A label map says it, or the names or colours of the classes, or the label itself. A label named ``__ignore__``
is no class. Pure: it knows labels and how many pixels each has. It knows no files and no masks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import UsageError, count, few
from pipeline.inputs.annotations.classes.label_map import (
    IGNORED,
    LabelMap,
    map_labels,
    nearest_name,
    without_ignored,
)
from pipeline.inputs.annotations.source import SourceLabel
from pipeline.settings.classes import padded_names
from pipeline.settings.schema import ClassConfig

MAX_LISTED = 6


@dataclass(frozen=True)
class UsedLabel:
    """A label that has pixels: how many, and in which files (names for messages)."""

    label: SourceLabel
    pixels: int
    files: tuple[str, ...]


@dataclass(frozen=True)
class Resolution:
    """targets: the class of each used label, or IGNORED. classes: those that there are, in order."""

    targets: tuple[int, ...]
    classes: tuple[ClassConfig, ...]
    notes: tuple[str, ...] = ()


def by_label_map(location: str, used: Sequence[UsedLabel], label_map: LabelMap) -> Resolution:
    """Classes as a label map says. Raises UsageError listing the labels that it does not mention."""
    targets, classes = map_labels(label_map, [entry.label for entry in used])
    unknown = [entry for entry, target in zip(used, targets, strict=True) if target is None]
    if unknown:
        keys = [str(key) for keys in (*label_map.sources, label_map.drop) for key in keys]
        known = [*keys, *(entry.name for entry in label_map.classes)]
        raise UsageError(
            f"{location}: labels that {label_map.path} does not mention: {_listed(unknown, known)}; put each "
            'in a class\'s from or in drop, or set rest = "background", "ignore" or "keep"'
        )
    texts = [key for keys in (*label_map.sources, label_map.drop) for key in keys if isinstance(key, str)]
    idle = [repr(key) for key in texts if not any(entry.label.has(key) for entry in used)]
    note = f"{label_map.path}: no pixel of {location} is labelled {few(idle, MAX_LISTED)}"
    return Resolution(tuple(IGNORED if t is None else t for t in targets), classes, (note,) if idle else ())


def by_name(
    location: str, used: Sequence[UsedLabel], classes: Sequence[ClassConfig], origin: str
) -> Resolution:
    """Classes by name without case, else by colour. A label that means background, and is no class, is class
    0.

    Raises UsageError listing the labels that are no class, and for one that is two; ``origin`` says where the
    classes stand.
    """
    index = {entry.color: place for place, entry in enumerate(classes) if entry.color}
    index |= {entry.name.casefold(): place for place, entry in enumerate(classes)}
    twice = Counter(entry.name.casefold() for entry in classes)
    for key in (_key_of(entry.label, index) for entry in used):
        if key is not None and twice[key] > 1:  # in a store that an older version has made
            raise UsageError(
                f"{location}: {key!r} is the name of {twice[key]} classes ({origin}); which is meant is not "
                "clear: give masks whose values are the classes' numbers"
            )
    found = [_class_of(entry.label, index) for entry in used]
    unknown = [entry for entry, target in zip(used, found, strict=True) if target is None]
    if unknown:
        colors = any(entry.label.names[0].startswith("#") for entry in unknown)
        raise UsageError(
            f"{location}: labels that are not among the classes ({origin}): "
            f"{_listed(unknown, [entry.name for entry in classes])}; add them there, or map them with "
            "--label-map" + (", or save the masks without smoothed edges" if colors else "")
        )
    drawn = any(t == 0 and not e.label.is_background for e, t in zip(used, found, strict=True))
    targets, kept = without_ignored(found, classes)
    note = (
        f"{location}: class 0, {kept[0].name!r}, is drawn, and is also what lies outside every shape; if "
        "that is not meant, put a class named background first"
    )
    return Resolution(tuple(t or 0 for t in targets), kept, (note,) if drawn else ())


def by_color(
    location: str, used: Sequence[UsedLabel], classes: Sequence[ClassConfig], origin: str
) -> Resolution:
    """Classes by colour; class 0 without a colour is black, and what is transparent is class 0.

    Raises UsageError for two classes of one colour, and listing the colours that are no class's.
    """
    index: dict[str, int] = {}
    for place, entry in enumerate(classes):
        if entry.color is None:
            continue
        if entry.color in index:
            first = classes[index[entry.color]].name
            raise UsageError(
                f"{origin}: {first!r} and {entry.name!r} are both {entry.color}; give each its colour"
            )
        index[entry.color] = place
    if classes[0].color is None:
        index.setdefault("#000000", 0)
    found = [0 if entry.label.outside else index.get(entry.label.names[0]) for entry in used]
    unknown = [entry for entry, target in zip(used, found, strict=True) if target is None]
    if unknown:
        names = {color: classes[place].name for color, place in index.items()}
        raise UsageError(
            f"{location}: colours that are no class's ({origin}): {_listed_colors(unknown, names)}; add them "
            "there, map them with --label-map, or save the masks without smoothed edges"
        )
    targets, kept = without_ignored(found, classes)
    return Resolution(tuple(t or 0 for t in targets), kept)


def by_format(
    location: str, used: Sequence[UsedLabel], labels: Sequence[SourceLabel], num_classes: int | None
) -> Resolution:
    """The labels of the format as classes, after background. Case does not matter: the first spelling counts.

    If ``num_classes`` is more than there are, unnamed classes are added. Raises UsageError if it is less.
    """
    names = {"background": "background"}
    for label in labels:
        if not label.is_background and not label.is_ignored:
            names.setdefault(label.names[0].casefold(), label.names[0])
    classes = padded([ClassConfig(name, None) for name in names.values()], num_classes, location)
    return by_name(location, used, classes, "the files' own")


def padded(classes: Sequence[ClassConfig], num_classes: int | None, location: str) -> tuple[ClassConfig, ...]:
    """The classes that files name, and as many unnamed ones as make them ``num_classes``.

    Raises UsageError where ``num_classes`` is less than there are.
    """
    if num_classes is not None and num_classes < len(classes):
        raise UsageError(
            f"{location}: has {count(len(classes), 'class')}, {few([entry.name for entry in classes], 8)}, "
            "but "
            f"num_classes is {num_classes}; leave it out, or merge classes with --label-map"
        )
    names = padded_names([entry.name for entry in classes], num_classes or 0)
    return (*classes, *(ClassConfig(name, None) for name in names[len(classes) :]))


def _key_of(label: SourceLabel, index: dict[str, int]) -> str | None:
    """The label's name, or colour, that is a class's."""
    names = () if label.outside else label.names
    return next((name.casefold() for name in names if name.casefold() in index), None)


def _class_of(label: SourceLabel, index: dict[str, int]) -> int | None:
    key = _key_of(label, index)
    if key is not None:
        return index[key]
    if label.is_ignored:
        return IGNORED
    return 0 if label.is_background else None


def _listed(unknown: Sequence[UsedLabel], known: Sequence[str]) -> str:
    """Labels, most pixels first, with counts, files and the nearest known name."""
    return _joined(
        [(e, nearest_name(e.label.names[0], known)) for e in unknown], [e.label.title for e in unknown]
    )


def _listed_colors(unknown: Sequence[UsedLabel], names: dict[str, str]) -> str:
    def nearest(color: str) -> str | None:
        if not names:
            return None
        found = min(names, key=lambda known: (_distance(color, known), known))
        return f"{found} ({names[found]})"

    colors = [entry.label.names[0] for entry in unknown]
    return _joined([(e, nearest(c)) for e, c in zip(unknown, colors, strict=True)], colors)


def _joined(unknown: Sequence[tuple[UsedLabel, str | None]], titles: Sequence[str]) -> str:
    rows = sorted(zip(unknown, titles, strict=True), key=lambda row: -row[0][0].pixels)
    said = [
        f"{title} ({entry.pixels:,} pixels in {few(entry.files, 2)}"
        + (f"; nearest is {near})" if near else ")")
        for (entry, near), title in rows[:MAX_LISTED]
    ]
    return ", ".join(said) + (f" and {len(rows) - MAX_LISTED} more" if len(rows) > MAX_LISTED else "")


def _distance(a: str, b: str) -> int:
    """Squared, in RGB, of two colours "#rrggbb"."""
    return sum((int(a[i : i + 2], 16) - int(b[i : i + 2], 16)) ** 2 for i in (1, 3, 5))
