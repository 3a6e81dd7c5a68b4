"""One PNG for each class of each image: ``{i}/{class}.png``, ``{class}/{i}.png``, ``{i}_{class}.png``,
``image_mask{i}_{class}.png``.

That is how CelebAMask-HQ (``00000_hair.png``) and many editors export. A pixel whose value is not zero
belongs to the file's class; where two do, the later class wins, in the order of the configured classes, else
of names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.inputs.annotations.classes.label_map import SourceLabel
from pipeline.inputs.annotations.formats.mask_files import MaskFile, load_png
from pipeline.inputs.annotations.formats.source import (
    OUTSIDE,
    AnnotationSource,
    few,
    image_number,
    label_text,
)
from pipeline.inputs.annotations.raster import shapes as draw

NAMES = "{i}/{class}.png, {class}/{i}.png, {i}_{class}.png or image_mask{i}_{class}.png"
_FLAT = re.compile(r"(?:image_mask)?([0-9]{1,9})_(.+)\.png", re.IGNORECASE)
# Folders that hold whole images or whole masks, as data sets have them.
NO_CLASSES = (
    *("images", "image", "img", "imgs", "pictures", "photos", "default", "raw", "rgb", "data", "gt"),
    *("masks", "mask", "labels", "label", "annotations", "annotation", "segmentation", "segmentations"),
    *("train", "training", "val", "valid", "validation", "test"),
)
_FOLDER = re.compile(r"[0-9]{1,9}")


def find_binary(folder: Path) -> dict[int, dict[str, Path]]:
    """Image number -> class name -> file. Raises UsageError for two files of one class of one image."""
    found: dict[int, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            inner = sorted(path.glob("[!.]*.[pP][nN][gG]")) if _FOLDER.fullmatch(path.name) else []
        else:
            inner = [path]
        for file in inner:
            flat = _FLAT.fullmatch(file.name)
            if flat is None and not path.is_dir():
                continue
            number, name = (int(flat[1]), flat[2]) if flat else (int(path.name), file.stem)
            name = label_text(name, f"{file}: its class")
            classes = found.setdefault(number, {})
            if name in classes:
                raise UsageError(f"{file}: {classes[name]} is class {name!r} of image {number} too; keep one")
            classes[name] = file
    return found


def find_class_folders(folder: Path) -> dict[int, dict[str, Path]]:
    """The same of ``{class}/{i}.png``: the folder is the class, the last integer of the stem the image.

    Folders whose names say that they hold something else are left alone. Raises UsageError for two files of
    one class of one image.
    """
    found: dict[int, dict[str, Path]] = {}
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        if _FOLDER.fullmatch(inner.name) or inner.name.startswith(".") or inner.name.lower() in NO_CLASSES:
            continue
        files = sorted(inner.glob("[!.]*.[pP][nN][gG]"))
        for file in files:
            number = image_number(file.name)
            if number is None:
                continue
            name = label_text(inner.name, f"{inner}: its class")
            classes = found.setdefault(number, {})
            if name in classes:
                raise UsageError(f"{file}: {classes[name]} is class {name!r} of image {number} too; keep one")
            classes[name] = file
    return found


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
    values = {name: value for value, name in enumerate(names, start=1)}

    def read(number: int) -> MaskFile:
        classes = [(name, found[number][name]) for name in names if name in found[number]]
        insides = {name: read_binary(path) for name, path in classes}
        size = insides[classes[0][0]].shape
        for name, path in classes:
            if insides[name].shape != size:
                raise UsageError(
                    f"{path}: is {insides[name].shape}, {classes[0][1].name} is {size} (rows, columns); "
                    "expected one size for the classes of an image"
                )
        ordered = draw.in_order([name for name, _ in classes], overlap)
        return MaskFile(
            draw.paint(((values[name], insides[name]) for name in ordered), (size[0], size[1])), None
        )

    return AnnotationSource(
        folder,
        "binary",
        {number: _shown(folder, classes) for number, classes in found.items()},
        read,
        (OUTSIDE, *(SourceLabel(None, (name,)) for name in names)),
        notes=(f"{folder}: its folders are taken as classes: {few(names)}",) if by_class and names else (),
    )


def read_binary(path: Path) -> NDArray[np.bool_]:
    """(h, w) of one PNG: where its value, or any of its equal colour channels, is not zero and not
    transparent.

    Raises UsageError, one line, for damage, and for colours: such a file is a picture.
    """
    image = load_png(path, "the mask of one class")
    pixels: NDArray[Any] = np.array(image)  # [h, w] or [h, w, channels]
    if pixels.ndim == 2:
        return np.asarray(pixels != 0, np.bool_)
    alpha = image.mode in ("LA", "RGBA")
    colors = pixels[..., :-1] if alpha else pixels
    if (colors != colors[..., :1]).any():
        raise UsageError(
            f"{path}: has colours; expected the mask of one class, black outside and white inside"
        )
    inside = colors[..., 0] != 0
    return np.asarray(inside & (pixels[..., -1] != 0) if alpha else inside, np.bool_)


def _shown(folder: Path, classes: dict[str, Path]) -> str:
    first = next(iter(classes.values()))
    return str(first.relative_to(folder)) + (f" and {len(classes) - 1} more" if len(classes) > 1 else "")
