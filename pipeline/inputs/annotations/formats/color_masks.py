"""Masks as colour PNGs: a pixel's colour is its label. Which class a colour is, the classes' colours say.

File names are those of masks; a colour PNG beside a mask of the same image is the picture instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.inputs.annotations.formats.mask_files import (
    MaskFile,
    find_color_masks,
    load_png,
    unread_hint,
    unread_masks,
)
from pipeline.inputs.annotations.formats.source import AnnotationSource

TRANSPARENT = 1 << 24  # the value of a pixel without any opacity: nothing is drawn there


def open_color(folder: Path) -> AnnotationSource:
    """The colour masks of ``folder``."""
    found, others = find_color_masks(folder, grey=True)
    unread = unread_masks(others, found)
    return AnnotationSource(
        folder,
        "color",
        {number: path.name for number, path in found.items()},
        lambda number: MaskFile(read_colors(found[number]), None),
        hint=unread_hint(unread),
        notes=(f"{folder}: {unread_hint(unread)}",) if unread else (),
        unread=unread,
    )


def read_colors(path: Path) -> NDArray[np.int32]:
    """(h, w) of 0xRRGGBB, or TRANSPARENT; a grey value v is the colour (v, v, v). Raises UsageError, one
    line, for damage and for PNGs of 16 bits.
    """
    image = load_png(path, "a mask of colours")
    if image.mode not in ("RGB", "RGBA", "P", "1", "L", "LA"):
        raise UsageError(f"{path}: the PNG's mode is {image.mode}; expected colours of 8 bits in all masks")
    pixels: NDArray[Any] = np.array(image.convert("RGBA")).astype(np.int32)  # [h, w, rgba]
    values = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    return np.where(pixels[..., 3] == 0, TRANSPARENT, values).astype(np.int32)


def color_name(value: int) -> str:
    """``#rrggbb`` of a value."""
    return f"#{value:06x}"
