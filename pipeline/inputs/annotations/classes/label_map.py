"""A label map: which class each label of the annotations becomes; renaming, merging and dropping as data.

    drop = ["logo", 19]             # labels that are no class of their own
    drop_to = "background"          # where their pixels go: "background" (default) or "ignore"
    rest = "keep"                   # labels not mentioned: "background", "ignore", "keep"; left out: an error

    [[classes]]
    name = "background"             # class 0

    [[classes]]
    name = "body"
    color = "#c0c0c0"               # optional
    from = ["door", "fender", 7]    # the labels that become this class, by name or number

A text is a label's name (a LabelMe label, a COCO category, a class file, a colour "#rrggbb", or the
configured class of a mask's value), in whatever case; an integer is a mask's value or a COCO category's id. A
label of a class's own name (or, in colour masks, of its colour) need not stand in ``from``; nor need the
label that means background, which is class 0, nor ``__ignore__``, whose pixels count nowhere; a class of that
name takes the labels that are to be ignored. ``rest = "keep"`` appends the labels not mentioned as classes of
their own, those of one name as one. The map acts on pixels after overlapping shapes have been settled: a
dropped shape hides what lies beneath it.

This module knows labels. It knows no files of annotations, and no pixels.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError, short
from pipeline.inputs.annotations.source import Key, SourceLabel
from pipeline.settings.classes import IGNORE_NAME, class_tables, parse_class
from pipeline.settings.schema import ClassConfig
from pipeline.settings.text_files import read_toml, refuse_unknown

IGNORED = -1  # in place of a class
_ELSEWHERE = ("background", "ignore")


@dataclass(frozen=True)
class LabelMap:
    """A label map as read: ``sources[i]`` are the labels that become ``classes[i]``."""

    path: Path
    classes: tuple[ClassConfig, ...]
    sources: tuple[tuple[Key, ...], ...]
    drop: tuple[Key, ...] = ()
    drop_to: str = "background"
    rest: str | None = None


def read_label_map(path: Path) -> LabelMap:
    """Read a label map. Raises UsageError, one line, naming file and key."""
    document = read_toml(path, "a label map")
    refuse_unknown(document, ("classes", "drop", "drop_to", "rest"), f"{path}: unknown key")
    classes, sources = [], []
    for where, table in class_tables(document.get("classes"), path):
        classes.append(parse_class(table, where, more=("from",)))
        sources.append(_keys(table.get("from", []), f"{where}: from"))
    drop = _keys(document.get("drop", []), f"{path}: drop")
    _refuse_repeats(path, [(c.name, keys) for c, keys in zip(classes, sources, strict=True)], drop)
    return LabelMap(
        path,
        tuple(classes),
        tuple(sources),
        drop,
        _word(document.get("drop_to", "background"), _ELSEWHERE, f"{path}: drop_to"),
        _word(document["rest"], (*_ELSEWHERE, "keep"), f"{path}: rest") if "rest" in document else None,
    )


def map_labels(
    label_map: LabelMap, labels: Sequence[SourceLabel]
) -> tuple[list[int | None], tuple[ClassConfig, ...]]:
    """The class of each label, and all classes, with those that ``rest = "keep"`` appends.

    It is IGNORED for a label that is ignored, and None for one that the map does not mention.

    Raises UsageError where two classes claim one label.
    """
    classes = list(label_map.classes)
    kept: dict[str, int] = {}
    targets: list[int | None] = []
    for label in labels:
        target = _target(label_map, label)
        if target is None and label_map.rest == "keep":
            target = kept.setdefault(label.names[0].casefold(), len(classes))
            if target == len(classes):
                classes.append(ClassConfig(label.names[0], None))
        elif target is None and label_map.rest is not None:
            target = IGNORED if label_map.rest == "ignore" else 0
        targets.append(target)
    return without_ignored(targets, classes)


def without_ignored(
    targets: Sequence[int | None], classes: Sequence[ClassConfig]
) -> tuple[list[int | None], tuple[ClassConfig, ...]]:
    """Targets and classes without the class ``__ignore__``: its labels are IGNORED, later classes move up."""
    kept = [place for place, entry in enumerate(classes) if entry.name.casefold() != IGNORE_NAME]
    moved: dict[int | None, int | None] = {place: new for new, place in enumerate(kept)}
    ends = {None: None, IGNORED: IGNORED}
    return (
        [(ends | moved).get(target, IGNORED) for target in targets],
        tuple(classes[place] for place in kept),
    )


def nearest_name(name: str, known: Sequence[str]) -> str | None:
    """The known name that is most like ``name``, or None."""
    by_key = {text.casefold(): text for text in known}
    close = difflib.get_close_matches(name.casefold(), by_key, n=1, cutoff=0.6)
    return by_key[close[0]] if close else None


def _target(label_map: LabelMap, label: SourceLabel) -> int | None:
    """The class that the map's own words give a label; ``rest`` is not asked."""
    claims = {
        index: key for index, keys in enumerate(label_map.sources) for key in keys if label.has(key)
    }  # class -> the key by which it claims the label
    dropped = [key for key in label_map.drop if label.has(key)]
    if len(claims) + bool(dropped) > 1:
        said = [f"class {label_map.classes[index].name!r} takes {key!r}" for index, key in claims.items()]
        said += [f"drop has {key!r}" for key in dropped]
        raise UsageError(f"{label_map.path}: label {label.title} is meant twice: {', '.join(said)}; keep one")
    if claims:
        return next(iter(claims))
    if dropped:
        return IGNORED if label_map.drop_to == "ignore" else 0
    for index, entry in enumerate(label_map.classes):
        if label.has(entry.name.casefold()) or (entry.color is not None and label.has(entry.color)):
            return index
    if label.is_ignored:
        return IGNORED
    return 0 if label.is_background else None


def _keys(value: Any, where: str) -> tuple[Key, ...]:
    if not isinstance(value, list):
        raise UsageError(f"{where} is {short(value)}; expected a list of labels, by name or number")
    for key in value:
        if isinstance(key, bool) or not isinstance(key, (str, int)) or key == "":
            raise UsageError(f"{where} holds {short(key)}; expected names or numbers of labels")
    return tuple(key.casefold() if isinstance(key, str) else key for key in value)


def _word(value: Any, accepted: Sequence[str], where: str) -> str:
    if value not in accepted:
        raise UsageError(f"{where} is {short(value)}; expected one of {', '.join(map(repr, accepted))}")
    return str(value)


def _refuse_repeats(
    path: Path, sources: Sequence[tuple[str, tuple[Key, ...]]], drop: tuple[Key, ...]
) -> None:
    seen: dict[Key, str] = {}
    named = [(f"class {name!r}", keys) for name, keys in sources]
    for owner, keys in [*named, ("drop", drop)]:
        for key in keys:
            if key in seen:
                raise UsageError(
                    f"{path}: label {key!r} stands twice, in {seen[key]} and in {owner}; keep one"
                )
            seen[key] = owner
