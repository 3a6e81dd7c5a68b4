"""Which format the annotations in a folder or file have, and opening them.

A format is told by content and names, and only where one alone is there. In a folder with none of them the
folder ``annotations`` inside is looked at: CVAT's COCO archive has its file there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.inputs.annotations.formats.class_masks import NAMES as BINARY_NAMES
from pipeline.inputs.annotations.formats.class_masks import find_binary, find_class_folders, open_binary
from pipeline.inputs.annotations.formats.coco import open_coco
from pipeline.inputs.annotations.formats.coco_tables import is_coco
from pipeline.inputs.annotations.formats.color_masks import open_color
from pipeline.inputs.annotations.formats.json_file import read_json
from pipeline.inputs.annotations.formats.labelme import is_labelme, open_labelme
from pipeline.inputs.annotations.formats.mask_files import NAMES as MASK_NAMES
from pipeline.inputs.annotations.formats.mask_files import (
    find_color_masks,
    find_masks,
    read_mask,
    unread_hint,
    unread_masks,
)
from pipeline.inputs.annotations.formats.source import AnnotationSource, few

JSON_FILES = "[!.]*.[jJ][sS][oO][nN]"  # without the hidden files that macOS leaves in archives
EXPECTED = f"masks {MASK_NAMES}, LabelMe or COCO .json, or one PNG a class, {BINARY_NAMES}"


def open_source(location: Path, format: str, overlap: str, class_names: Sequence[str]) -> AnnotationSource:
    """Open ``location``, of ``format`` or of what is detected for "auto"; ``overlap`` is "later" or
    "earlier".

    Raises UsageError, one line, where nothing is there, where it is ambiguous and where a file is broken.
    """
    try:
        if location.is_file():
            return _open_file(location, format, overlap)
        if not location.is_dir():
            raise UsageError(f"{location}: does not exist; expected a folder of {EXPECTED}")
        return _open_folder(location, format, overlap, class_names)
    except OSError as error:
        where = error.filename or location
        raise UsageError(
            f"{where}: cannot be read ({error.strerror or error}); expected annotations"
        ) from error


def _open_file(path: Path, format: str, overlap: str) -> AnnotationSource:
    if path.suffix.lower() != ".json":
        array = path.suffix.lower() in (".npy", ".npz")
        raise UsageError(
            f"{path}: is a file, not a folder; expected a folder of annotations, or a COCO .json"
            + ("; if these are keypoints, pass --task keypoints" if array else "")
        )
    if format not in ("auto", "coco"):
        raise UsageError(f"{path}: is a file; expected a folder for annotation format {format!r}")
    if is_labelme(read_json(path, "annotations")):
        raise UsageError(f"{path}: is a LabelMe file of one image; pass the folder that holds them")
    return open_coco(path, overlap)


def _open_folder(folder: Path, format: str, overlap: str, class_names: Sequence[str]) -> AnnotationSource:
    if format == "auto":
        inner = folder / "annotations"
        found = _formats(folder)
        if not found and inner.is_dir():
            folder, found = inner, _formats(inner)
        if len(found) > 1:
            said = ", ".join(f"{name} ({example})" for name, example in found.items())
            raise UsageError(
                f"{folder}: holds annotations of several formats: {said}; say which with --annotation-format"
            )
        format = next(iter(found), "")
    source = _open_as(folder, format, overlap, class_names) if format else None
    if source is None or not source.files:
        names = [path.name for path in sorted(folder.iterdir())]
        there = f"; in it are {few(names)}" if names else "; it is empty"
        classes = _class_names(folder)
        alone = f"; if {classes[0]} is a class, pass --annotation-format binary" if len(classes) == 1 else ""
        raise UsageError(
            f"{folder}: no annotations are found{there}; expected {EXPECTED}{_advice(names)}{alone}"
        )
    return source


def _advice(names: Sequence[str]) -> str:
    """What else the files of a folder without annotations may be."""
    hint = unread_hint(unread_masks(names, ()))
    if hint:
        return f"; {hint}"
    if any(Path(name).suffix.lower() in (".npy", ".npz") for name in names):
        return "; if an array there is of keypoints, pass --task keypoints"
    return ""


def _open_as(folder: Path, format: str, overlap: str, class_names: Sequence[str]) -> AnnotationSource:
    if format == "labelme":
        return open_labelme(folder, overlap)
    if format == "coco":
        return open_coco(_coco_file(folder), overlap)
    if format == "binary":
        return open_binary(folder, overlap, class_names)
    return open_color(folder) if format == "color" else _open_masks(folder)


def _open_masks(folder: Path) -> AnnotationSource:
    found, others = find_masks(folder)
    unread = unread_masks(others, found)
    near = [name for name in others if name.lower().endswith((".npy", ".png"))]
    hints = [f"names not read as masks: {few(near)}" if near and not unread else None, unread_hint(unread)]
    return AnnotationSource(
        folder,
        "masks",
        {number: path.name for number, path in found.items()},
        lambda number: read_mask(found[number]),
        hint=next((hint for hint in hints if hint), None),
        notes=(f"{folder}: {unread_hint(unread)}",) if unread else (),
        unread=unread,
    )


def _formats(folder: Path) -> dict[str, str]:
    """Format -> an example, of what ``folder`` holds. Colour PNGs count only where nothing else is there."""
    found: dict[str, str] = {}
    colors, _ = find_color_masks(folder)
    masks, _ = find_masks(folder)
    label_masks = {number: path for number, path in masks.items() if path != colors.get(number)}
    if label_masks:
        found["masks"] = label_masks[min(label_masks)].name
    binary = find_binary(folder)
    if binary:
        found["binary"] = next(iter(binary[min(binary)].values())).name
    broken: UsageError | None = None
    for path in sorted(folder.glob(JSON_FILES)):
        try:
            document = read_json(path, "annotations")
        except UsageError as error:
            broken = error
            continue
        if is_labelme(document):
            found.setdefault("labelme", path.name)
        elif is_coco(document):
            found.setdefault("coco", path.name)
    if not found and broken is not None:
        raise broken
    if not found and colors:
        return {"color": colors[min(colors)].name}
    classes = [] if found else _class_names(folder)
    if len(classes) > 1:  # one may be a folder of anything
        found["binary"] = f"folders {few(classes)}"
    return found


def _class_names(folder: Path) -> list[str]:
    """The classes of folders ``{class}/{i}.png``."""
    return sorted({name for files in find_class_folders(folder).values() for name in files})


def _coco_file(folder: Path) -> Path:
    files = [path for path in sorted(folder.glob(JSON_FILES)) if is_coco(read_json(path, "annotations"))]
    if not files and (folder / "annotations").is_dir():
        return _coco_file(folder / "annotations")
    if len(files) != 1:
        there = few([path.name for path in files]) if files else "none"
        raise UsageError(f"{folder}: expected one COCO file; there: {there}; name the file itself")
    return files[0]
