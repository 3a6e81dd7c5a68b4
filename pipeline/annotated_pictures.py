"""The pictures that annotators worked on: finding them by number, and reading one.

Knows file names and what sets a picture apart from a mask. Does not know generators or how pictures compare.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.errors import UsageError

NAMES = "image_{i}.png, image{i}.jpg or {i}.jpg"
MAX_PIXELS = 2**26
_NAME = re.compile(
    r"(?:latents_image_|image_?|img_?|seed|sample_?)?([0-9]{1,9})\.(?:png|jpe?g|webp|bmp)", re.IGNORECASE
)
_COLOR_MODES = ("RGB", "RGBA", "RGBX")  # a mask has one channel, or is among the annotations' files


def find_pictures(
    images: Path | None, annotations: Path, numbers: Sequence[int], taken: Collection[str] = ()
) -> dict[int, Path]:
    """Image number -> its picture, of those of ``numbers`` that have one.

    Looked for in the folder ``images`` or, if that is None, beside ``annotations`` (a folder or a file), in
    ``images/`` there, and in ``images/`` beside the folder. Files named in ``taken`` are annotations. Raises
    UsageError, one line, when ``images`` is not a folder or holds none.
    """
    if images is not None and not images.is_dir():
        raise UsageError(f"{images}: not a folder; expected the annotated pictures, {NAMES}")
    base = annotations if annotations.is_dir() else annotations.parent
    for folder in [images] if images is not None else [base, base / "images", base.parent / "images"]:
        found = _pictures_in(folder, set(numbers), taken if folder == base else ())
        if found:
            return found
    if images is not None:
        raise UsageError(
            f"{images}: no picture of an annotated image (numbers {min(numbers)} to {max(numbers)}); "
            f"expected {NAMES}, in colour"
        )
    return {}


def _pictures_in(folder: Path, numbers: Collection[int], taken: Collection[str]) -> dict[int, Path]:
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _NAME.fullmatch(path.name)
        if match is None or path.name in taken or int(match[1]) not in numbers:
            continue
        if _is_color(path):  # of image_3.jpg and image_3.png the latter, which lost nothing
            number = int(match[1])
            if number not in found or path.suffix.lower() == ".png":
                found[number] = path
    return dict(sorted(found.items()))


def _is_color(path: Path) -> bool:
    """Whether a file's header is that of a colour picture."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return image.mode in _COLOR_MODES and image.width * image.height <= MAX_PIXELS
    except Exception:  # Pillow raises OSError, SyntaxError, ValueError, struct errors for damage
        return False


def picture_size(path: Path) -> tuple[int, int]:
    """(height, width) as the header has it. Raises UsageError, one line, naming the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return image.height, image.width
    except Exception as error:
        raise UsageError(_unreadable(path)) from error


def read_reduced(path: Path, size: tuple[int, int]) -> np.ndarray:
    """A picture averaged over boxes to ``size`` (h, w): (h, w, 3) float32 grey levels, 0 to 255.

    Raises UsageError, one line, naming the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return reduced(np.asarray(image.convert("RGB")), size)
    except Exception as error:
        raise UsageError(_unreadable(path)) from error


def reduced(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 -> (h, w, 3) float32, each pixel the mean of its box."""
    small = Image.fromarray(np.ascontiguousarray(picture)).resize((size[1], size[0]), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32)


def _unreadable(path: Path) -> str:
    return f"{path}: cannot be read as a picture, or is truncated; replace it, or pass --no-check"
