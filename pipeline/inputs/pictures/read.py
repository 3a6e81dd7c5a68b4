"""Reads pictures of any size and any common format, as they are shown. It does not know what they are for."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import UsageError, few
from pipeline.inputs.annotations.source import MAX_PIXELS, TOO_LARGE, not_readable
from pipeline.inputs.orientation import upright, upright_size
from pipeline.settings.file_names import check_entries, is_hidden

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
_DEEP_MODES = ("I", "F")  # and I;16: more than 8 bits


def picture_files(folder: Path) -> tuple[Path, ...]:
    """The pictures in a folder by their suffixes, in the order of their names; folders in it are not entered.

    Raises UsageError, one line, where there is none.
    """
    try:
        check_entries(folder, depth=1)
        paths = sorted(folder.iterdir())
    except NotADirectoryError:
        raise UsageError(f"{folder}: is a file; expected a folder of pictures") from None
    except FileNotFoundError:
        raise UsageError(f"{folder}: no such folder; expected a folder of pictures") from None
    except OSError as error:
        raise UsageError(
            f"{folder}: cannot be read ({error.strerror}); expected a folder of pictures"
        ) from None
    _refuse_broken_links(paths)
    found = tuple(path for path in paths if _is_picture(path))
    if not found:
        raise UsageError(f"{folder}: holds no picture{_instead(paths)}")
    return found


def _is_picture(path: Path) -> bool:
    return _has_name(path) and path.is_file()


def _has_name(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not is_hidden(path.name)


def _refuse_broken_links(paths: Sequence[Path]) -> None:
    """Raise UsageError for a picture that is a link to nowhere: it would be left out without a word."""
    for path in paths:
        if _has_name(path) and path.is_symlink() and not path.exists():
            raise UsageError(
                f"{path}: is a link to {path.readlink()}, which does not exist; mend or remove the link"
            )


def _instead(paths: Sequence[Path]) -> str:
    """What a folder without pictures holds, and what to do."""
    inner = [path.name for path in paths if path.is_dir() and _holds_pictures(path)]
    if inner:
        return f", but folders of pictures: {few(inner)}; pass one of them, or move the pictures out of them"
    there = f"; in it are {few([path.name for path in paths])}" if paths else ""
    return f"{there}; expected files {', '.join(SUFFIXES)}"


def _holds_pictures(folder: Path) -> bool:
    try:
        return any(_is_picture(path) for path in folder.iterdir())
    except OSError:
        return False


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
                        f"{path}: values are of {image.mode}, more than 8 bits; expected 8 bits a channel: "
                        "convert it, or take it out of the folder"
                    )
                yield image
    except UsageError:
        raise
    except Image.DecompressionBombError as error:
        raise UsageError(f"{path}: {TOO_LARGE}") from error
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, zlib and struct errors
        reason = not_readable(error) or "cannot be read as a picture, or is truncated"
        raise UsageError(f"{path}: {reason}; replace it, or take it out of the folder") from error
