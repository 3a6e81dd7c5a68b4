"""Whole masks, one file an image: which file is the mask of which image, and the labels that it holds.

A mask is a ``.npy``, or a PNG of labels or of colours. Which of several files of one image is its mask, and
which the picture, follows from names and from whether there are colours. Does not know classes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError, few
from pipeline.inputs.annotations.formats.file_names import MaskName, parse_name
from pipeline.inputs.annotations.raster.png import (
    depth_and_type,
    has_colors,
    is_rgb,
    read_colors,
    read_labels,
)
from pipeline.inputs.annotations.source import TRANSPARENT, AnnotationSource, MaskFile
from pipeline.inputs.arrays import read_array
from pipeline.inputs.numbers import image_number, names_have_numbers
from pipeline.settings.file_names import is_hidden

NAMES = "{i}.png, {i}.npy, image_mask{i}.npy or {i}_mask.png"
_READ = (".png", ".npy")
_NEVER_PICTURES = (".mat", ".npz", ".tif", ".tiff", ".gif", ".psd", ".xcf", ".kra", ".exr", ".pgm", ".h5")
_PICTURES = (".jpg", ".jpeg", ".bmp", ".webp")
PICTURES_OR_MASKS = (*_NEVER_PICTURES, *_PICTURES)
"""Files that may be meant as masks, and are not read as such."""


def whole_files(folder: Path) -> tuple[dict[int, list[MaskName]], list[Path]]:
    """Image number -> the files in ``folder`` that may be its mask or its picture; and all other files."""
    found: dict[int, list[MaskName]] = {}
    others: list[Path] = []
    for path in sorted(folder.iterdir()):
        name = parse_name(path) if path.suffix.lower() in _READ else None
        if name is None or name.label is not None:
            others.append(path)
        else:
            found.setdefault(name.number, []).append(name)
    return found, others


def find_masks(folder: Path) -> tuple[dict[int, Path], list[str]]:
    """Image number -> its mask of labels in ``folder``, and the names that were left alone.

    RGB beside a mask of the same image is the picture of that image, and so is a file with a picture's name.
    A .npy beside a mask that says so in its name is none: the released code keeps the divergence of
    label_{i}.png in {i}.npy.
    Where pictures are told by their names (`names_say`), grey beside a mask that says so is a picture too.
    Where there are such pictures, RGB without a mask is the picture of an image that is not annotated. Raises
    UsageError, one line, for two masks of one image.
    """
    named, rest = whole_files(folder)
    plain = {number: _without_colors(files) for number, files in named.items()}
    masks = {number: [name for name in files if not _may_be_picture(name)] for number, files in plain.items()}
    if not any(masks.values()):
        masks = plain
    masks = {number: _without_divergence(files) for number, files in masks.items()}
    masks = masks if names_have_numbers() else _without_grey_pictures(masks)
    pictures = any(0 < len(masks[number]) < len(files) for number, files in named.items())
    found: dict[int, Path] = {}
    others = [path.name for path in rest]
    for number, files in named.items():
        taken = masks[number]
        if not taken and not pictures:  # colours under a mask's name: reading it says so
            best = max(_rank(name) for name in files)
            taken = [name for name in files if _rank(name) == best > 0]
        others += [name.path.name for name in files if name not in taken]
        if taken:
            found[number] = _only(taken, number)
    return found, sorted(others)


def find_color_masks(folder: Path, *, grey: bool = False) -> tuple[dict[int, Path], list[str]]:
    """Image number -> the RGB PNG that may be its mask of colours, and the names that were left alone.

    Of several files of one image, the file whose name says mask is taken, else the one whose name does not
    say picture. Where names tell the mask of any image from its picture, files with names like those of the
    pictures are not taken. ``grey``: PNGs of one channel are taken too, because an editor saves a mask that
    is all background so.
    """
    named, rest = whole_files(folder)
    masks = {
        number: [name for name in files if name.is_png and (grey or is_rgb(name.path))]
        for number, files in named.items()
    }
    ranks = {number: {_rank(name) for name in files} for number, files in masks.items()}
    least = min((max(found) for found in ranks.values() if len(found) > 1), default=0)
    found: dict[int, Path] = {}
    others = [path.name for path in rest]
    for number, files in masks.items():
        best = max(ranks[number], default=0)
        taken = [name for name in files if _rank(name) == best >= least]
        others += [name.path.name for name in named[number] if name not in taken]
        if taken:
            found[number] = _only(taken, number)
    return found, sorted(others)


def _rank(name: MaskName) -> int:
    """How plainly a name is a mask's: 0 of a picture, 2 of a mask."""
    return 2 if name.says_mask else 0 if name.says_picture else 1


def open_masks(folder: Path) -> AnnotationSource:
    """The masks of labels in ``folder``."""
    found, others = find_masks(folder)
    near = [name for name in others if name.lower().endswith(_READ)]
    hint = f"names not read as masks: {few(near)}" if near else None
    return _source(folder, "masks", found, others, lambda number: read_mask(found[number]), hint)


def open_color(folder: Path) -> AnnotationSource:
    """The masks of colours in ``folder``."""
    found, others = find_color_masks(folder, grey=True)

    def read(number: int) -> MaskFile:
        values = read_colors(found[number])
        return MaskFile(values, transparent=int((values == TRANSPARENT).sum()))

    return _source(folder, "color", found, others, read, None)


def are_colors(paths: Collection[Path], known: Collection[str], *, palettes: bool) -> bool:
    """Whether PNGs are masks of colours, and not of labels, given the classes' colours ``known``.

    RGB files are, unless red, green and blue are equal in all of them and some grey is the colour of no
    class. ``palettes``: files with a palette are too, if it shows every label in use in the colour of a
    class.
    """
    rgb = [path for path in paths if is_rgb(path)]
    if any(has_colors(path) for path in rgb):
        return True
    if rgb:
        return len(known) > 1 and set().union(*(_colors_in(path) for path in rgb)) <= set(known)
    shown = [_colors_shown(path) for path in paths if palettes and path.suffix.lower() == ".png"]
    return any(colors and colors <= set(known) for colors in shown) and len(known) > 1


def _colors_in(path: Path) -> set[str]:
    return {f"#{value:06x}" for value in np.unique(read_colors(path)).tolist() if value != TRANSPARENT}


def _colors_shown(path: Path) -> set[str]:
    """The colours in which a palette shows the labels in use, label 0 aside; none without a palette."""
    mask = read_labels(path)
    palette = mask.palette or ()
    return {palette[label] for label in np.unique(mask.labels).tolist() if 0 < label < len(palette)}


def _source(
    folder: Path,
    format: str,
    found: Mapping[int, Path],
    others: Sequence[str],
    read: Callable[[int], MaskFile],
    hint: str | None,
) -> AnnotationSource:
    unread = unread_masks(others, found)
    bare = [name for name in others if image_number(name) is None and _is_grey(folder / name)]
    notes = [f"{folder}: {unread_hint(unread)}"] if unread else []
    if bare and found and names_have_numbers():  # else `pipeline.inputs.photograph_pairs` says so
        notes.append(f"{folder}: not read, as their names have no image's number: {few(bare)}")
    return AnnotationSource(
        folder,
        format,
        {number: path.name for number, path in found.items()},
        read,
        hint=unread_hint(unread) or hint,
        notes=tuple(notes),
        unread=unread,
    )


def _is_grey(path: Path) -> bool:
    return not is_hidden(path.name) and depth_and_type(path)[0] > 0 and not is_rgb(path)


def unread_masks(names: Iterable[str], found: Collection[int]) -> dict[int, str]:
    """Image number -> a file that is or says to be its mask and was not taken, of images not in ``found``."""
    unread: dict[int, str] = {}
    for text in sorted(names):
        name, suffix = parse_name(Path(text)), Path(text).suffix.lower()
        if name is None or name.number in found:
            continue
        known = suffix in (*_READ, *_PICTURES) and name.says_mask and name.label is None
        if known or suffix in _NEVER_PICTURES:
            unread[name.number] = text
    return dict(sorted(unread.items()))


def unread_hint(unread: Mapping[int, str]) -> str | None:
    """Half a sentence on masks that were not taken, with what to do; None where there are none."""
    if not unread:
        return None
    shown, suffixes = few(list(unread.values())), {Path(name).suffix.lower() for name in unread.values()}
    if suffixes & {".jpg", ".jpeg"}:
        return f"{shown} cannot be masks: JPEG changes labels; export them as PNG or .npy"
    if not suffixes & set(_READ):
        return f"not read: {shown}; expected masks as PNG or .npy"
    return (
        f"not read: {shown}; expected all masks as .npy or greyscale PNG, or all as colour PNG with "
        "--annotation-format color"
    )


def _without_colors(files: Sequence[MaskName]) -> list[MaskName]:
    """Of the files of one image those without colours; RGB beside others that does not say mask has some."""

    def colored(name: MaskName) -> bool:
        return is_rgb(name.path) if len(files) > 1 and not name.says_mask else has_colors(name.path)

    return [name for name in files if not colored(name)]


def _without_divergence(files: Sequence[MaskName]) -> list[MaskName]:
    """Of the files of one image those without a .npy whose name says nothing, where another's says mask."""
    said = any(name.says_mask for name in files)
    return [name for name in files if name.is_png or name.says_mask or not said]


def _without_grey_pictures(masks: dict[int, list[MaskName]]) -> dict[int, list[MaskName]]:
    """The masks that say so alone, of all images, where each image with several files has one that does."""
    several = [files for files in masks.values() if len(files) > 1]
    if not several or any(sum(name.says_mask for name in files) != 1 for files in several):
        return masks
    return {number: [name for name in files if name.says_mask] for number, files in masks.items()}


def _may_be_picture(name: MaskName) -> bool:
    return name.is_png and name.says_picture


def _only(names: Sequence[MaskName], number: int) -> Path:
    if len(names) > 1:
        raise UsageError(
            f"{names[1].path}: {names[0].path.name} in the same folder is a mask of image {number} too; keep "
            "one, or call masks of one class each {i}_{class}.png"
        )
    return names[0].path


def read_mask(path: Path) -> MaskFile:
    """Read one mask. Raises UsageError, one line, naming the file, if it is not (h, w) whole numbers.

    A ``.npy`` holds integers, booleans or floats that are whole, with singleton dimensions allowed; a PNG is
    as ``read_labels`` says.
    """
    mask = read_labels(path) if path.suffix.lower() == ".png" else MaskFile(_read_array(path))
    if mask.labels.ndim != 2 or mask.labels.size == 0:
        raise UsageError(
            f"{path}: the mask has shape {mask.labels.shape}; expected (height, width), a label a pixel"
        )
    return mask


def _read_array(path: Path) -> NDArray[Any]:
    array = read_array(path, "a mask").values
    if array.dtype.kind not in "iubf":
        raise UsageError(f"{path}: the mask's dtype is {array.dtype}; expected whole numbers, such as uint8")
    array = array.astype(np.uint8) if array.dtype.kind == "b" else array
    if array.ndim > 2:
        array = np.squeeze(array)
        array = array.reshape((1,) * (2 - array.ndim) + array.shape) if array.ndim < 2 else array
    if array.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            broken = ~np.isfinite(array) | (array != np.round(array))
        if broken.any():
            where = tuple(int(i) for i in np.argwhere(broken)[0])
            raise UsageError(
                f"{path}: the mask holds {array[where]} at {where}; expected whole numbers as labels"
            )
    return array
