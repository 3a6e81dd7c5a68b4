"""Reads pictures of any size and any common format, as they are shown. It does not know what they are for."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import UsageError, few
from pipeline.inputs.annotations.source import MAX_PIXELS
from pipeline.inputs.orientation import upright, upright_size

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
_DEEP_MODES = ("I", "F")  # and I;16: more than 8 bits


def picture_files(folder: Path) -> tuple[Path, ...]:
    """The pictures in a folder by their suffixes, in the order of their names; folders in it are not entered.

    Raises UsageError, one line, where there is none.
    """
    try:
        names = [path.name for path in folder.iterdir() if path.is_file()]
    except NotADirectoryError:
        raise UsageError(f"{folder}: is a file; expected a folder of pictures") from None
    except FileNotFoundError:
        raise UsageError(f"{folder}: no such folder; expected a folder of pictures") from None
    except OSError as error:
        raise UsageError(
            f"{folder}: cannot be read ({error.strerror}); expected a folder of pictures"
        ) from None
    found = sorted(
        name for name in names if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
    )
    if not found:
        there = f"; in it are {few(sorted(names))}" if names else ""
        raise UsageError(f"{folder}: holds no picture{there}; expected files {', '.join(SUFFIXES)}")
    return tuple(folder / name for name in found)


def read_picture(path: Path) -> NDArray[np.uint8]:
    """(h, w, 3) uint8, as the picture is shown: grey as equal red, green and blue, and without transparency.

    Raises UsageError, one line, for damage, for over MAX_PIXELS, and for more than 8 bits a channel.
    """
    with _opened(path) as image:
        return np.asarray(upright(image).convert("RGB"))


def read_size(path: Path) -> tuple[int, int]:
    """(height, width) as the picture is shown, from its header. Raises UsageError as `read_picture`."""
    with _opened(path) as image:
        return upright_size(image)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures, MAX_PIXELS is less; of damaged EXIF
            with Image.open(path, formats=_FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UsageError(
                        f"{path}: is {image.height} x {image.width}; expected at most {MAX_PIXELS} pixels"
                    )
                if image.mode.startswith(_DEEP_MODES):
                    raise UsageError(
                        f"{path}: its values are of {image.mode}, more than 8 bits; expected 8 bits a channel"
                    )
                yield image
    except UsageError:
        raise
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, zlib and struct errors
        raise UsageError(
            f"{path}: cannot be read as a picture, or is truncated; replace it, or take it out of the folder"
        ) from error
