"""One PNG for each class of each image: ``{i}_{class}.png``, ``{i}/{class}.png`` or ``{class}/{i}.png``.

CelebAMask-HQ (``00000_hair.png``) and many editors export masks so. Such a file has one value inside its
class, and is black outside. A file with several values is refused. Where two classes have a pixel, the later
one wins, in the order of the configured classes, else of names; ``__ignore__`` wins over all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.errors import UsageError, few
from pipeline.inputs.annotations.formats.file_names import (
    MASK_WORDS,
    class_of,
    is_label_studio,
    parse_name,
)
from pipeline.inputs.annotations.formats.voc import is_of_layout
from pipeline.inputs.annotations.raster import shapes as draw
from pipeline.inputs.annotations.raster.png import is_rgb, read_inside
from pipeline.inputs.annotations.source import (
    OUTSIDE,
    AnnotationSource,
    MaskFile,
    SourceLabel,
    label_text,
)
from pipeline.inputs.numbers import PICTURE_WORDS, image_number, split_name, stem_of
from pipeline.settings.file_names import is_hidden

NAMES = "{i}_{class}.png, {i}/{class}.png or {class}/{i}.png"
# Words in the names of folders that hold whole images or whole masks, as data sets have them.
_NO_CLASSES = (
    MASK_WORDS
    | PICTURE_WORDS
    | frozenset(
        {
            *("pictures", "photos", "default", "raw", "rgb", "data", "ann", "jpegimages", "imagesets"),
            "panoptic",
            *("train", "training", "val", "valid", "validation", "test", "overlay", "overlays"),
        }
    )
)
_WORD = re.compile(r"[^\W_]+")

Found = dict[int, dict[str, Path]]
"""Image number -> class name -> file."""


def find_binary(folder: Path) -> Found:
    """The files ``{i}_{class}.png`` in ``folder``, and ``{class}.png`` and ``{i}_{class}.png`` in its folders
    of one image.

    Raises UsageError, one line, for two files of one class of one image, and for Label Studio's names.
    """
    found: Found = {}
    for path in sorted(folder.iterdir()):
        number = _folder_number(path) if path.is_dir() else None
        for file in _pngs(path) if number is not None else [path]:
            if file.suffix.lower() != ".png" or is_hidden(file.name):
                continue
            if is_label_studio(file.name):
                raise UsageError(
                    f"{file}: is of Label Studio, which numbers tasks and not pictures; export COCO, or "
                    "rename the files to {i}_{class}.png"
                )
            name = parse_name(file)
            if name is not None and name.label is not None:
                _add(found, name.number, name.label, file)
            elif number is not None:
                _check_one_number(path, file)
                _add(found, number, class_of(f"_{stem_of(file.name)}") or stem_of(file.name), file)
    return found


def find_class_folders(folder: Path) -> Found:
    """The files ``{class}/{i}.png`` in ``folder``: the name of the inner folder is the class.

    Folders whose names say that they hold something else are not read. Raises UsageError for two files of one
    class of one image.
    """
    found: Found = {}
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        if _folder_number(inner) is not None or not is_class(inner.name):
            continue
        for file in _pngs(inner):
            number = image_number(file.name)
            if number is not None:
                _add(found, number, inner.name, file)
    return found


def _check_one_number(folder: Path, file: Path) -> None:
    """Raise UsageError for ``3/1.png``, of which either number may be the image's."""
    if folder.name.isdigit() and stem_of(file.name).isdigit():
        raise UsageError(
            f"{file}: its folder and its name are numbers, and which is the image's is not clear; call it "
            "{class}/{i}.png or {i}/{class}.png with a letter in the class's name, or image_{i}/{class}.png"
        )


def open_binary(folder: Path, overlap: str, class_names: Sequence[str]) -> AnnotationSource:
    """The per-class masks of ``folder``; ``class_names`` are the configured classes, in order."""
    found = find_binary(folder)
    by_class = not found
    if by_class:
        found = find_class_folders(folder)
    rank = {name.casefold(): place for place, name in enumerate(class_names)}
    names = sorted(
        {name for classes in found.values() for name in classes},
        key=lambda name: (rank.get(name.casefold(), len(rank)), name),
    )
    labels = {name: SourceLabel(None, (name,)) for name in names}
    values = {name: value for value, name in enumerate(names, start=1)}

    def read(number: int) -> MaskFile:
        classes = [(name, found[number][name]) for name in names if name in found[number]]
        insides = {name: read_inside(path) for name, path in classes}
        size = insides[classes[0][0]].shape
        for name, path in classes:
            if insides[name].shape != size:
                raise UsageError(
                    f"{path}: is {insides[name].shape}, {classes[0][1].name} is {size} (rows, columns); "
                    "expected one size for the classes of an image"
                )
        ordered = draw.in_order([name for name, _ in classes], overlap)
        ordered = sorted(ordered, key=lambda name: labels[name].is_ignored)
        return MaskFile(draw.paint(((values[name], insides[name]) for name in ordered), (size[0], size[1])))

    shown = few([name for name in names if not labels[name].is_ignored])
    notes = [f"{folder}: its folders are taken as classes: {shown}"] if by_class and names else []
    aside = [path.name for path in sorted(folder.iterdir()) if notes and _is_left_aside(path)]
    if aside:
        notes.append(f"{folder}: folders of masks that are no classes are not read: {few(aside)}")
    return AnnotationSource(
        folder,
        "binary",
        {number: _shown(folder, classes) for number, classes in found.items()},
        read,
        (OUTSIDE, *labels.values()),
        notes=tuple(notes),
    )


def _add(found: Found, number: int, label: str, file: Path) -> None:
    label = label_text(label, f"{file}: its class")
    classes = found.setdefault(number, {})
    if label in classes:
        raise UsageError(f"{file}: {classes[label]} is class {label!r} of image {number} too; keep one")
    classes[label] = file


def _pngs(folder: Path) -> Iterable[Path]:
    return sorted(folder.glob("[!.]*.[pP][nN][gG]"))


def _folder_number(folder: Path) -> int | None:
    """The image that a folder is of by its name: ``3``, ``image_3``, ``seed0003``; None for others."""
    parts = split_name(folder.name)
    if parts is None or parts.after:
        return None
    words = [word.casefold() for word in _WORD.findall(parts.before)]
    return parts.number if set(words) <= PICTURE_WORDS else None


def is_class(name: str) -> bool:
    """Whether a folder's name may be a class: no word in it says that it holds whole images or masks."""
    words = {word.casefold() for word in _WORD.findall(name)}
    return not (is_hidden(name) or is_of_layout(name) or words & _NO_CLASSES)


def _is_left_aside(folder: Path) -> bool:
    """Whether a folder that is no class by its name holds PNGs of one channel, as masks are."""
    files = _pngs(folder) if folder.is_dir() and not is_class(folder.name) else []
    return any(image_number(file.name) is not None and not is_rgb(file) for file in files)


def _shown(folder: Path, classes: dict[str, Path]) -> str:
    first = next(iter(classes.values()))
    return str(first.relative_to(folder)) + (f" and {len(classes) - 1} more" if len(classes) > 1 else "")
