"""Detects the format of the annotations in a folder or file, and opens them.

Content and names say which format it is. Several formats in one folder are refused. In a folder without any,
the folder ``annotations`` inside is tried: CVAT's COCO archive has its file there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.errors import UsageError, few
from pipeline.inputs.annotations.formats.class_masks import NAMES as CLASS_NAMES
from pipeline.inputs.annotations.formats.class_masks import (
    find_binary,
    find_class_folders,
    is_class,
    open_binary,
)
from pipeline.inputs.annotations.formats.coco import is_coco, open_coco
from pipeline.inputs.annotations.formats.coco_panoptic import is_panoptic, open_panoptic, segment_folder
from pipeline.inputs.annotations.formats.exported import find_exported, open_exported
from pipeline.inputs.annotations.formats.file_names import is_label_studio, parse_name
from pipeline.inputs.annotations.formats.labelme import is_labelme, open_labelme
from pipeline.inputs.annotations.formats.mask_files import NAMES as MASK_NAMES
from pipeline.inputs.annotations.formats.mask_files import (
    are_colors,
    find_color_masks,
    find_masks,
    unread_hint,
    unread_masks,
)
from pipeline.inputs.annotations.formats.ome_zarr import find_ome_zarr, open_ome_zarr
from pipeline.inputs.annotations.formats.other_programs import JSON_FILES, program_in, program_of
from pipeline.inputs.annotations.formats.parquet import find_parquet, open_parquet
from pipeline.inputs.annotations.formats.tar_shards import find_shards, open_shards
from pipeline.inputs.annotations.formats.voc import CLASS_FOLDERS, class_folder, is_instances, open_listed
from pipeline.inputs.annotations.json_file import read_json
from pipeline.inputs.annotations.raster.png import has_colors, is_rgb
from pipeline.inputs.annotations.source import AnnotationSource
from pipeline.inputs.numbers import image_number
from pipeline.settings.file_names import check_entries
from pipeline.settings.schema import ClassConfig

EXPECTED = (
    f"masks {MASK_NAMES}, LabelMe or COCO .json, a folder with SegmentationClass/, OME-Zarr images, Parquet "
    f"or tar files, or one PNG a class, {CLASS_NAMES}"
)
ARCHIVES = (".zip", ".tgz", ".tar.gz", ".7z", ".rar")  # as annotation tools give them
# Formats of which one file or folder holds all of an image: what finds an example, and what opens a folder.
_CONTAINERS = {
    "parquet": (find_parquet, open_parquet),
    "ome-zarr": (find_ome_zarr, open_ome_zarr),
    "webdataset": (find_shards, open_shards),
}


class NoAnnotations(UsageError):
    """A folder in which no annotation is found."""


def open_source(
    location: Path, format: str, overlap: str, classes: Sequence[ClassConfig]
) -> AnnotationSource:
    """Open ``location``, of ``format`` or of what is detected for "auto"; ``overlap`` is "later" or
    "earlier", ``classes`` are the configured ones.

    Raises UsageError, one line, where nothing is there, where it is ambiguous and where a file is broken.
    """
    try:
        if location.is_file():
            return _open_file(location, format, overlap)
        if not location.is_dir():
            raise UsageError(f"{location}: does not exist; expected a folder of {EXPECTED}")
        check_entries(location)
        return _open_folder(location, format, overlap, classes)
    except OSError as error:
        where = error.filename or location
        raise UsageError(
            f"{where}: cannot be read ({error.strerror or error}); expected annotations"
        ) from error


def _open_file(path: Path, format: str, overlap: str) -> AnnotationSource:
    if path.name.lower().endswith(ARCHIVES):
        raise UsageError(f"{path}: is an archive; unpack it, and name the folder")
    if path.suffix.lower() != ".json":
        array = path.suffix.lower() in (".npy", ".npz")
        raise UsageError(
            f"{path}: is a file, not a folder; expected a folder of annotations, or a COCO .json"
            + ("; if these are keypoints, pass --task keypoints" if array else "")
        )
    if format not in ("auto", "coco"):
        raise UsageError(f"{path}: is a file; expected a folder for annotation format {format!r}")
    document = read_json(path, "annotations")
    if is_labelme(document):
        raise UsageError(f"{path}: is a LabelMe file of one image; pass the folder that holds them")
    program = program_of(document)
    if program:
        raise UsageError(f"{path}: is {program}, which is not read; export COCO")
    return open_panoptic(path) if is_panoptic(document) else open_coco(path, overlap)


def _open_folder(folder: Path, format: str, overlap: str, classes: Sequence[ClassConfig]) -> AnnotationSource:
    if format in ("auto", "masks") and (exported := find_exported(folder)) is not None:
        return open_exported(folder, exported)
    if format == "auto" and is_instances(folder.name):
        raise UsageError(
            f"{folder}: tells instances apart, and not classes; pass SegmentationClass beside it, or "
            "--annotation-format masks if its values are classes all the same"
        )
    if format == "auto":
        inner = folder / "annotations"
        found = _formats(folder, classes)
        if not found and inner.is_dir():
            folder, found = inner, _formats(inner, classes)
        if len(found) > 1:
            said = ", ".join(f"{name} ({example})" for name, example in found.items())
            raise UsageError(
                f"{folder}: holds annotations of several formats: {said}; say which with --annotation-format"
            )
        format = next(iter(found), "")
    source = _open_as(folder, format, overlap, classes) if format else None
    if source is None or not source.files:
        names = [path.name for path in sorted(folder.iterdir())]
        there = f"; in it are {few(names)}" if names else "; it is empty"
        named = _class_names(folder)
        alone = f"; if {named[0]} is a class, pass --annotation-format binary" if len(named) == 1 else ""
        raise NoAnnotations(
            f"{folder}: no annotations are found{there}; expected {EXPECTED}{_advice(folder)}{alone}"
        )
    return source


def _advice(folder: Path) -> str:
    """What else the files of a folder without annotations may be, and what to do with them."""
    paths = sorted(folder.iterdir())
    suffixes = {path.suffix.lower() for path in paths}
    numbered = any(image_number(path.name) is not None for path in paths)
    hint = unread_hint(unread_masks([path.name for path in paths], ()))
    program = program_in(folder)
    if program:
        return f"; {program}, which is not read: export COCO"
    if hint:
        return f"; {hint}"
    if any(is_label_studio(path.name) for path in paths):
        return "; Label Studio's files are named by its tasks, not by the pictures: export COCO"
    if ".mat" in suffixes:
        return "; MATLAB's .mat is not read: save masks as PNG or .npy"
    if ".xml" in suffixes:
        return '; XML is not read: export COCO, or "Segmentation mask"'
    if suffixes & {".npy", ".npz"}:
        return "; if an array there is of keypoints, pass --task keypoints"
    if ".png" in suffixes and not numbered:
        return "; no name has the number of an image"
    if any(is_rgb(path) for path in paths if path.suffix.lower() == ".png"):
        return "; if its PNGs are masks in colours, give the classes their colours"
    inner = [path.name for path in paths if path.is_dir() and _holds_masks(path)]
    return f"; if the masks are in {few(inner)}, pass that folder" if inner else ""


def _holds_masks(folder: Path) -> bool:
    if is_instances(folder.name):
        return False
    if any(find(folder) for find, _ in _CONTAINERS.values()):
        return True
    return class_folder(folder) is not None or (not is_class(folder.name) and bool(find_masks(folder)[0]))


def _open_as(folder: Path, format: str, overlap: str, classes: Sequence[ClassConfig]) -> AnnotationSource:
    if format == "labelme":
        return open_labelme(folder, overlap)
    if format == "coco":
        return _open_coco_in(folder, overlap)
    if format == "binary":
        return open_binary(folder, overlap, [entry.name for entry in classes])
    if format in _CONTAINERS:
        return _CONTAINERS[format][1](folder)
    inner = class_folder(folder) or folder
    source = open_listed(inner, format)
    beside = [path.name for files in find_binary(inner).values() for path in files.values()]
    note = f"{inner}: not read as masks: {few(sorted(beside))}"
    return replace(source, notes=(*source.notes, note)) if beside else source


def _formats(folder: Path, classes: Sequence[ClassConfig]) -> dict[str, str]:
    """Format -> an example, of what ``folder`` holds. RGB counts only where nothing else is there."""
    if folder.name.lower() in CLASS_FOLDERS:
        return {"voc": folder.name}
    found = {name: example for name, (find, _) in _CONTAINERS.items() if (example := find(folder))}
    known = {entry.color for entry in classes if entry.color}
    colors, _ = find_color_masks(folder)
    colored = are_colors(colors.values(), known, palettes=False)
    masks, _ = find_masks(folder)
    label_masks = {number: path for number, path in masks.items() if not is_rgb(path)}
    if label_masks:
        found["masks"] = label_masks[min(label_masks)].name
    binary = find_binary(folder)
    files = [path for named in binary.values() for path in named.values()]
    if files and not (label_masks and all(has_colors(path) for path in files)):  # overlays beside masks
        found["binary"] = files[0].name
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
    voc = class_folder(folder)
    if voc is not None:
        found["voc"] = voc.name
    if not found and broken is not None:
        raise broken
    if not found and masks and not colored:  # stored as RGB whose red, green and blue are equal
        return {"masks": masks[min(masks)].name}
    pictures = all((name := parse_name(path)) and name.says_picture for path in colors.values())
    if not found and colors and (len(known) > 1 or not pictures):
        return {"color": colors[min(colors)].name}
    named = [] if found else _class_names(folder)
    if len(named) > 1:  # one may be a folder of anything
        found["binary"] = f"folders {few(named)}"
    return found


def _class_names(folder: Path) -> list[str]:
    """The classes of folders ``{class}/{i}.png``."""
    return sorted({name for files in find_class_folders(folder).values() for name in files})


def _open_coco_in(folder: Path, overlap: str) -> AnnotationSource:
    """The one COCO file of a folder, or of ``annotations`` in it. Of several it is the panoptic one, if one
    is, because it alone has every pixel.
    """
    read = {path: read_json(path, "annotations") for path in sorted(folder.glob(JSON_FILES))}
    files = [path for path, document in read.items() if is_coco(document)]
    if not files and (folder / "annotations").is_dir():
        return _open_coco_in(folder / "annotations", overlap)
    whole = [path for path in files if is_panoptic(read[path]) and segment_folder(path) is not None]
    if len(whole) == 1:
        source = open_panoptic(whole[0])
        others = few([path.name for path in files if path not in whole])
        note = f"{whole[0]}: is read, which has every pixel, and not {others} beside it"
        return replace(source, notes=(*source.notes, note)) if others else source
    if len(files) != 1:
        there = few([path.name for path in files]) if files else "none"
        raise UsageError(f"{folder}: expected one COCO file; there: {there}; name the file itself")
    return open_panoptic(files[0]) if is_panoptic(read[files[0]]) else open_coco(files[0], overlap)
