"""Mask files: which file is the mask of which image, and the label array that one file holds.

Knows file names and the two formats, ``.npy`` and PNG. Does not know the classes, nor the feature grid.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import UsageError
from pipeline.inputs.arrays import read_array

MAX_PIXELS = 2**26  # of one annotated image, 8192 x 8192: no more is allocated on a file's word
NAMES = "image_mask{i}.npy, {i}.png or image_mask{i}.png"
_MASK_NAME = re.compile(r"image_mask([0-9]{1,9})\.(?:npy|png)|([0-9]{1,9})\.png", re.IGNORECASE)
_PICTURE_NAME = re.compile(r"image_([0-9]{1,9})\.png", re.IGNORECASE)
_SAID_MASK = re.compile(r"image_mask([0-9]{1,9})\.[a-z0-9]+", re.IGNORECASE)
_ONE_CHANNEL = ("1", "L", "P", "I;16", "I;16B", "I")  # Pillow's modes of one unsigned value a pixel


@dataclass(frozen=True)
class MaskFile:
    """labels: (h, w), whole numbers of any dtype. palette: "#rrggbb" of labels 0, 1, ..., or None."""

    labels: NDArray[Any]
    palette: tuple[str, ...] | None


def find_masks(folder: Path) -> tuple[dict[int, Path], list[str]]:
    """Image number -> its mask in ``folder``, and the names that were left alone.

    A colour PNG beside a mask of the same image is that image's picture; where any is, one without a mask is
    the picture of an image that is not annotated. Where no file has a mask's name, single-channel
    ``image_{i}.png`` are taken. Raises UsageError, one line, for two masks of one image.
    """
    named, others = _by_number(folder, _MASK_NAME)
    if not named:
        named, others = _by_number(folder, _PICTURE_NAME)
        colored = [p for paths in named.values() for p in paths if _is_color_png(p)]
        named = {i: [p for p in paths if p not in colored] for i, paths in named.items()}
        others += [path.name for path in colored]
    colors = {i: [p for p in paths if _is_color_png(p)] for i, paths in named.items()}
    pictures = any(0 < len(colors[i]) < len(paths) for i, paths in named.items())
    found: dict[int, Path] = {}
    for number, paths in named.items():
        masks = [path for path in paths if path not in colors[number]]
        if not masks and not pictures:
            masks = _named_mask(colors[number])
        others += [path.name for path in paths if path not in masks]
        if masks:
            found[number] = _only(masks, number)
    return found, sorted(others)


def find_color_masks(folder: Path, *, grey: bool = False) -> tuple[dict[int, Path], list[str]]:
    """Image number -> the colour PNG with the name of a mask, and the names that were left alone.

    ``image_mask{i}.png`` goes before ``{i}.png``, which where both are there is that image's picture, and
    alone the picture of an image that is not annotated. ``grey``: PNGs of one channel are taken too, as an
    editor saves a mask that is all background.
    """
    named, others = _by_number(folder, _MASK_NAME)
    found: dict[int, Path] = {}
    masks = {i: [p for p in paths if _is_color_png(p) or (grey and _is_png(p))] for i, paths in named.items()}
    pictures = any(0 < len(_named_mask(paths)) < len(paths) for paths in masks.values())
    for number, paths in masks.items():
        wanted = _named_mask(paths)
        if pictures:
            wanted = [path for path in wanted if path.name.lower().startswith("image_mask")]
        others += [path.name for path in named[number] if path not in wanted]
        if wanted:
            found[number] = _only(wanted, number)
    return found, sorted(others)


def unread_masks(names: Iterable[str], found: Collection[int]) -> dict[int, str]:
    """Image number -> the name of a file that says to be its mask and was not taken, of images not in
    ``found``.
    """
    matches = [(name, _SAID_MASK.fullmatch(name)) for name in names]
    numbered = {int(match[1]): name for name, match in matches if match}
    return {number: name for number, name in sorted(numbered.items()) if number not in found}


def unread_hint(unread: Mapping[int, str]) -> str | None:
    """Half a sentence on masks that were not taken, with what to do; None where there are none."""
    if not unread:
        return None
    names = list(unread.values())
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    if any(name.lower().endswith((".jpg", ".jpeg")) for name in names):
        return f"{shown} cannot be masks: JPEG changes labels; export them as PNG or .npy"
    return (
        f"not read: {shown}; expected all masks as .npy or greyscale PNG, or all as colour PNG with "
        "--annotation-format color"
    )


def _named_mask(paths: list[Path]) -> list[Path]:
    """Those called ``image_mask{i}.png``, if any is: ``{i}.png`` beside it is the picture."""
    return [path for path in paths if path.name.lower().startswith("image_mask")] or paths


def _by_number(folder: Path, pattern: re.Pattern[str]) -> tuple[dict[int, list[Path]], list[str]]:
    """Image number -> the files of a matching name, and the names of all others."""
    named: dict[int, list[Path]] = {}
    others: list[str] = []
    for path in sorted(folder.iterdir()):
        match = pattern.fullmatch(path.name)
        if match is None:
            others.append(path.name)
        else:
            named.setdefault(int(match[match.lastindex or 1]), []).append(path)
    return named, others


def _only(paths: list[Path], number: int) -> Path:
    if len(paths) > 1:
        raise UsageError(
            f"{paths[1]}: {paths[0].name} in the same folder is a mask of image {number} too; keep one"
        )
    return paths[0]


def _is_png(path: Path) -> bool:
    return path.suffix.lower() == ".png"


def _is_color_png(path: Path) -> bool:
    """Whether the PNG's header says colours; False for a file that is none, which reading it will tell."""
    try:
        with path.open("rb") as file:
            header = file.read(26)
    except OSError:
        return False
    # IHDR, PNG specification section 11.2.2: colour type 2 is RGB, 6 is RGBA.
    return header[:8] == b"\x89PNG\r\n\x1a\n" and header[25:26] in (b"\x02", b"\x06")


def read_mask(path: Path) -> MaskFile:
    """Read one mask. Raises UsageError, one line, naming the file, if it is not (h, w) whole numbers.

    A ``.npy`` holds integers, booleans or floats that are whole, with singleton dimensions allowed; a PNG is
    palette or single-channel, of any bit depth.
    """
    mask = _read_png(path) if path.suffix.lower() == ".png" else MaskFile(_read_array(path), None)
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


def _read_png(path: Path) -> MaskFile:
    image = load_png(path, "a mask of 8-bit labels")
    if image.mode not in _ONE_CHANNEL:
        raise UsageError(
            f"{path}: the PNG's mode is {image.mode}, colours; expected labels: save it as 8-bit greyscale "
            "(L) whose values are the labels, as palette (P) whose indices are, or as .npy; or give the "
            "classes their colours, and --annotation-format color"
        )
    palette = _palette(image) if image.mode == "P" else None
    return MaskFile(np.array(image) // _grey_scale(path), palette)


def load_png(file: Path | BinaryIO, what: str, where: str | None = None) -> Image.Image:
    """A whole PNG with its pixels; ``what`` and ``where`` (the path) are for messages.

    Raises UsageError, one line, for damage, for another format and for over MAX_PIXELS.
    """
    where = where or str(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS is less
            with Image.open(file, formats=["PNG"]) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UsageError(
                        f"{where}: is {image.height} x {image.width}; expected at most {MAX_PIXELS} pixels"
                    )
                image.verify()  # every chunk's checksum; reading pixels alone lets some damage pass
            with Image.open(file, formats=["PNG"]) as image:
                image.load()
                return image
    except UsageError:
        raise
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, zlib and struct errors
        raise UsageError(f"{where}: cannot be read as PNG, or is truncated; expected {what}") from error


def _grey_scale(path: Path) -> int:
    """What Pillow multiplied the values by: it stretches greyscale of 2 and 4 bits to 0..255, no palette."""
    with path.open("rb") as file:
        depth, color_type = file.read(26)[24:26]  # IHDR, PNG specification section 11.2.2
    return 255 // (2**depth - 1) if color_type == 0 and depth in (2, 4) else 1


def _palette(image: Image.Image) -> tuple[str, ...]:
    flat = image.getpalette("RGB") or []
    return tuple("#{:02x}{:02x}{:02x}".format(*flat[i : i + 3]) for i in range(0, len(flat) - 2, 3))
