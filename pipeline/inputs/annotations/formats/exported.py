"""The folders that ``dgan export --format png`` writes: index PNGs with the list of their classes.

    classes.toml        the classes in the order of their labels, and the label that counts nowhere
    metadata.jsonl      its place tells that ``labels`` beside it is of this layout
    labels/000012.png   class ids
    images/000012.png   not read here

With ``--split`` all but the first lie in a folder of each split. Labels are places in the list, whatever the
classes are called. Does not know what the classes of a run are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.inputs.annotations.formats.mask_files import find_masks, read_mask
from pipeline.inputs.annotations.source import AnnotationSource
from pipeline.settings.classes import read_classes_file

CLASSES, LABELS, METADATA = "classes.toml", "labels", "metadata.jsonl"


@dataclass(frozen=True)
class Exported:
    """``classes``: the list of classes. ``labels``: the folders of masks, one a split."""

    classes: Path
    labels: tuple[Path, ...]


def find_exported(folder: Path) -> Exported | None:
    """The export that ``folder`` is: its own folder, that of a split, or ``labels`` in it. None if it is
    none.
    """
    split = folder.parent if folder.name == LABELS else folder
    if _is_split(split):
        return _with_classes((split, split / ".."), [split / LABELS])
    return _with_classes((folder,), [path / LABELS for path in sorted(folder.iterdir()) if _is_split(path)])


def open_exported(folder: Path, exported: Exported) -> AnnotationSource:
    """The masks of an export. Raises UsageError where two splits have one image, or the list is broken."""
    found: dict[int, Path] = {}
    for labels in exported.labels:
        for number, path in find_masks(labels)[0].items():
            if number in found:
                raise UsageError(f"{path}: {found[number]} is the mask of image {number} too; keep one")
            found[number] = path
    if not found:
        raise UsageError(f"{exported.labels[0]}: no masks are found; expected labels that dgan exported")
    return AnnotationSource(
        folder,
        "masks",
        {number: path.relative_to(folder).as_posix() for number, path in found.items()},
        lambda number: read_mask(found[number]),
        classes=read_classes_file(exported.classes),
        classes_from=exported.classes,
        by_place=True,
    )


def _is_split(folder: Path) -> bool:
    return (folder / METADATA).is_file() and (folder / LABELS).is_dir()


def _with_classes(places: Sequence[Path], labels: Sequence[Path]) -> Exported | None:
    lists = [place / CLASSES for place in places if (place / CLASSES).is_file()]
    return Exported(lists[0], tuple(labels)) if lists and labels else None
