"""Mask files: which file is the mask of which image, and the label array that one file holds.

Knows file names and the two formats, ``.npy`` and PNG. Does not know the classes, nor the feature grid.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import UsageError
from pipeline.npy import read_npy

NAMES = "image_mask{i}.npy, {i}.png or image_mask{i}.png"
_MASK_NAME = re.compile(r"image_mask([0-9]{1,9})\.(?:npy|png)|([0-9]{1,9})\.png", re.IGNORECASE)
_ONE_CHANNEL = ("1", "L", "P", "I;16", "I;16B", "I")  # Pillow's modes of one unsigned value a pixel


@dataclass(frozen=True)
class MaskFile:
    """labels: (h, w), whole numbers of any dtype. palette: "#rrggbb" of labels 0, 1, ..., or None."""

    labels: NDArray[Any]
    palette: tuple[str, ...] | None


def find_masks(folder: str | os.PathLike[str], num_images: int) -> list[Path]:
    """The mask of image 0, 1, ..., ``num_images`` - 1 in ``folder``; files with other names are left alone.

    Raises UsageError, one line, for a missing folder and for missing, surplus, misnumbered or doubled masks.
    """
    folder = Path(folder)
    if not folder.is_dir():
        found = "is not a folder" if folder.exists() else "does not exist"
        raise UsageError(f"{folder}: {found}; expected a folder of {num_images} masks {NAMES}, i from 0")
    by_index: dict[int, Path] = {}
    others: list[str] = []
    for path in sorted(folder.iterdir()):
        match = _MASK_NAME.fullmatch(path.name)
        if match is None:
            others.append(path.name)
            continue
        index = int(match[1] or match[2])
        if index in by_index:
            raise UsageError(
                f"{path}: {by_index[index].name} in the same folder is a mask of image {index} too; keep one"
            )
        by_index[index] = path
    _check_numbering(folder, by_index, num_images, others)
    return [by_index[index] for index in range(num_images)]


def _check_numbering(folder: Path, by_index: dict[int, Path], num_images: int, others: list[str]) -> None:
    missing = [i for i in range(num_images) if i not in by_index]
    surplus = sorted(i for i in by_index if i >= num_images)
    last = num_images - 1
    if not missing and not surplus:
        return
    start = min(by_index, default=0)
    if start > 0 and sorted(by_index) == list(range(start, start + num_images)):
        raise UsageError(
            f"{folder}: the masks are numbered from {start} ({by_index[start].name}) to {start + last}; "
            f"expected 0 to {last}: rename them so that the number is the latent's row"
        )
    faults = []
    if missing:
        named = [f"image_mask{i}.npy or {i}.png" for i in missing]
        faults.append(f"{len(missing)} of {num_images} masks are missing: {_few(named)}")
    if surplus:
        named = [by_index[i].name for i in surplus]
        faults.append(
            f"{len(surplus)} masks are surplus to the {num_images} latents (0 to {last}): {_few(named)}"
        )
    near = [name for name in others if name.lower().endswith((".npy", ".png"))] if missing else []
    hint = f"; names not read as masks: {_few(near)}" if near else ""
    raise UsageError(f"{folder}: {'; '.join(faults)}{hint}; expected {NAMES}, one for each latent")


def _few(names: list[str], num: int = 4) -> str:
    more = f" and {len(names) - num} more" if len(names) > num else ""
    return ", ".join(names[:num]) + more


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
    array = read_npy(path, "a mask")
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
    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.verify()  # every chunk's checksum; reading pixels alone lets some damage pass
        with Image.open(path, formats=["PNG"]) as image:
            mode = image.mode
            if mode in _ONE_CHANNEL:
                labels = np.array(image)  # [h, w]
                palette = _palette(image) if mode == "P" else None
    except (
        Exception
    ) as error:  # Pillow raises OSError, SyntaxError, ValueError, zlib and struct errors for damage
        raise UsageError(
            f"{path}: cannot be read as PNG, or is truncated; expected a mask of 8-bit labels"
        ) from error
    if mode not in _ONE_CHANNEL:
        raise UsageError(
            f"{path}: the PNG's mode is {mode}, colours; expected labels: save it as 8-bit greyscale (L) "
            "whose values are the labels, as palette (P) whose indices are, or as .npy"
        )
    return MaskFile(labels // _grey_scale(path), palette)


def _grey_scale(path: Path) -> int:
    """What Pillow multiplied the values by: it stretches greyscale of 2 and 4 bits to 0..255, no palette."""
    with path.open("rb") as file:
        depth, color_type = file.read(26)[24:26]  # IHDR, PNG specification section 11.2.2
    return 255 // (2**depth - 1) if color_type == 0 and depth in (2, 4) else 1


def _palette(image: Image.Image) -> tuple[str, ...]:
    flat = image.getpalette("RGB") or []
    return tuple("#{:02x}{:02x}{:02x}".format(*flat[i : i + 3]) for i in range(0, len(flat) - 2, 3))
