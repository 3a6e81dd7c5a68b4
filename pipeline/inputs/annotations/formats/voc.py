"""The layout of Pascal VOC, as CVAT ("Segmentation mask"), Datumaro and labelme2voc export it.

    labelmap.txt or class_names.txt     the classes
    SegmentationClass/                  the masks, PNG of colours or of indices, or .npy
    SegmentationClassPNG/, SegmentationClassNpy/    the same of labelme2voc, where it is not above
    SegmentationObject/, ImageSets/, JPEGImages/, *Visualization/    not read

Colours are those of labelmap.txt, and indices are places in the list. Where a palette shows every index in
its class's colour, the indices count. What VOC leaves without a label, colour (224, 224, 192), index 255
(also of a palette that shows it black) or -1, counts nowhere. Does not know what the classes of a run are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.errors import few
from pipeline.inputs.annotations.formats.mask_files import (
    are_colors,
    find_masks,
    open_color,
    open_masks,
    read_mask,
)
from pipeline.inputs.annotations.raster.png import is_index, is_rgb
from pipeline.inputs.annotations.source import AnnotationSource, MaskFile
from pipeline.settings.classes import BACKGROUND_NAMES, IGNORE_NAME, LISTS, read_classes_file
from pipeline.settings.schema import ClassConfig

CLASS_FOLDERS = ("segmentationclass", "segmentationclasspng", "segmentationclassnpy")
VOID = 255
VOID_COLOR = "#e0e0c0"
UNCERTAIN = ("labels.txt", "classes.txt")
UNFILLED = "classes.toml"
_VOID_NAMES = ("ignored", "void")


def class_folder(folder: Path) -> Path | None:
    """The folder of the masks in a VOC layout, or ``folder`` if it is that; None for no VOC layout."""
    if folder.name.lower() in CLASS_FOLDERS:
        return folder
    inner = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()}
    there = [inner[name] for name in CLASS_FOLDERS if name in inner]
    return next((path for path in there if find_masks(path)[0] or open_color(path).files), None) or (
        there[0] if there else None
    )


def is_instances(name: str) -> bool:
    """Whether a folder's name is the layout's of masks whose values are instances, and not classes."""
    return name.lower().startswith("segmentationobject")


def is_of_layout(name: str) -> bool:
    """Whether a folder's name is one of the layout's, which is no class."""
    lower = name.lower()
    return lower.startswith(("segmentationclass", "segmentationobject")) or lower.endswith("visualization")


def open_listed(folder: Path, format: str) -> AnnotationSource:
    """The whole masks in ``folder``, with the classes of a list beside them, if there is one.

    In a VOC layout the list may lie beside the folder, and pixels without a label are ignored. format:
    "masks" or "color"; with "voc" the files and the list decide which of the two it is.
    """
    voc = folder.name.lower() in CLASS_FOLDERS
    folders = [folder, folder.parent] if voc else [folder]
    path = next((path for each in folders if (path := _list_in(each))), None)
    classes = () if path is None else _renamed(read_classes_file(path))
    if format == "voc":
        known = {VOID_COLOR, *(entry.color for entry in classes if entry.color)}
        files = [folder / name for name in open_color(folder).files.values()]
        by_color = not _show_places(files, classes) and are_colors(files, known, palettes=True)
        format = "color" if by_color else "masks"
    source = open_color(folder) if format == "color" else open_masks(folder)
    if format == "color" and not any(entry.color for entry in classes):
        classes = ()
    elif format == "color" and not _has_background(classes):
        classes = (ClassConfig("background", "#000000"), *classes)
    if classes and path is not None:
        names = [entry.name for entry in classes if entry.name != IGNORE_NAME]
        note = f"{folder}: its classes are those of {path}: {few(names, 6)}"
        source = replace(source, classes=classes, classes_from=path, notes=(*source.notes, note))
    if path is None:
        source = replace(source, notes=(*source.notes, *_unread_lists(folders)))
    return _of_voc(source, folder) if voc else source


def _show_places(paths: Sequence[Path], classes: Sequence[ClassConfig]) -> bool:
    """Whether every mask is of indices whose palette shows each in the colour of the class at that place.

    Indices and colours say the same then, and indices say besides that the first class is label 0.
    """
    for path in paths:
        mask = read_mask(path) if path.suffix.lower() == ".png" and not is_rgb(path) else None
        if mask is None or mask.palette is None:
            return False
        for label in np.unique(mask.labels).tolist():
            shown = mask.palette[label] if label < len(mask.palette) else None
            if label != VOID and (label >= len(classes) or shown != classes[label].color):
                return False
    return bool(paths)


def _list_in(folder: Path) -> Path | None:
    paths = [folder / name for name in (*LISTS, *UNCERTAIN)]
    return next((path for path in paths if path.is_file() and _is_of_masks(path)), None)


def _unread_lists(folders: Sequence[Path]) -> list[str]:
    return [
        f"{path}: not read, as its first name is not the background; if it lists the classes by value, "
        "pass it as classes_file"
        for folder in folders
        for name in UNCERTAIN
        if (path := folder / name).is_file()
    ]


def _is_of_masks(path: Path) -> bool:
    """Whether a list numbers the classes as masks do. ``labels.txt`` and ``classes.txt`` may be of any
    tool: only the background in their first place tells. ``classes.toml`` with one class is not
    filled in yet.
    """
    if path.name == UNFILLED:
        return len(read_classes_file(path)) > 1
    if path.name not in UNCERTAIN:
        return True
    classes = read_classes_file(path)
    return bool(classes) and classes[0].name.casefold() in BACKGROUND_NAMES


def _renamed(classes: Sequence[ClassConfig]) -> tuple[ClassConfig, ...]:
    """The background, and VOC's label of no class, under the names that every format has for them."""

    def name(entry: ClassConfig) -> str:
        if entry.name.casefold() in BACKGROUND_NAMES:
            return BACKGROUND_NAMES[0]
        void = entry.color == VOID_COLOR and entry.name.casefold() in _VOID_NAMES
        return IGNORE_NAME if void else entry.name

    return tuple(replace(entry, name=name(entry)) for entry in classes)


def _has_background(classes: Sequence[ClassConfig]) -> bool:
    return any(e.name.casefold() in BACKGROUND_NAMES or e.color == "#000000" for e in classes)


def _of_voc(source: AnnotationSource, folder: Path) -> AnnotationSource:
    def read(number: int) -> MaskFile:
        mask = read_mask(folder / source.files[number])
        if mask.labels.dtype.kind == "u":
            return mask
        return replace(mask, labels=np.where(mask.labels == -1, VOID, mask.labels))

    def read_color(number: int) -> MaskFile:
        mask, void = source.read(number), is_index(folder / source.files[number], VOID)
        hidden = void & (mask.labels == 0)  # a palette that shows no colour there, and so black
        return replace(mask, labels=np.where(hidden, int(VOID_COLOR[1:], 16), mask.labels))

    objects = folder.parent / "SegmentationObject"
    note = f"{objects}: not read: it tells instances apart, and {folder.name} has the classes"
    return replace(
        source,
        read=read_color if source.format == "color" else read,
        ignored=frozenset((int(VOID_COLOR[1:], 16) if source.format == "color" else VOID,)),
        notes=(*source.notes, note) if objects.is_dir() else source.notes,
    )
