"""Reads PNG files as labels, as colours, or as the inside of one class.

It knows the kinds of PNG that editors save, and refuses what would lose or invent labels. It does not know
file names, nor what labels mean.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import UsageError, few
from pipeline.inputs.annotations.source import MAX_PIXELS, TOO_LARGE, TRANSPARENT, MaskFile, not_readable
from pipeline.inputs.orientation import upright

_ONE_CHANNEL = ("1", "L", "P", "I;16", "I;16B", "I")  # Pillow's modes of one unsigned value a pixel
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def load_png(file: Path | BinaryIO, what: str, where: str | None = None) -> Image.Image:
    """A whole PNG with its pixels, turned as its EXIF orientation says; ``what`` and ``where`` (the path) are
    for messages.

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
                return upright(image)
    except UsageError:
        raise
    except Image.DecompressionBombError as error:
        raise UsageError(f"{where}: {TOO_LARGE}") from error
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, zlib and struct errors
        raise UsageError(f"{where}: {not_readable(error) or _why_no_png(file)}; expected {what}") from error


def _why_no_png(file: Path | BinaryIO) -> str:
    try:
        with Image.open(file) as image:
            kind = image.format
    except Exception:  # Pillow raises many kinds for what is no picture or is damaged
        kind = None
    if kind in (None, "PNG"):
        return "cannot be read as PNG, or is truncated"
    return f"is a file of {kind}, whatever its name says; export it as PNG"


def depth_and_type(file: Path | BinaryIO) -> tuple[int, int]:
    """Bits of a channel and the colour type, from the header of a PNG.

    (0, 0) for a file that is no PNG: an error is raised when its pixels are read.
    """
    try:
        header = _beginning(file, 26)
    except OSError:
        return 0, 0
    # IHDR, PNG specification section 11.2.2: colour type 2 is RGB, 3 palette, 4 grey and alpha, 6 RGBA.
    return (header[24], header[25]) if header[:8] == _SIGNATURE and len(header) == 26 else (0, 0)


def _beginning(file: Path | BinaryIO, num_bytes: int) -> bytes:
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return opened.read(num_bytes)
    file.seek(0)
    return file.read(num_bytes)


def is_rgb(path: Path) -> bool:
    """Whether the PNG's header says red, green and blue, equal or not."""
    return depth_and_type(path)[1] in (2, 6)


def has_colors(path: Path) -> bool:
    """Whether red, green and blue of any pixel differ.

    True for an RGB file that cannot be read: an error is raised when it is read as a mask.
    """
    if not is_rgb(path):
        return False
    try:
        pixels = np.asarray(load_png(path, "a picture or mask"))
    except UsageError:
        return True
    return bool((pixels[..., :3] != pixels[..., :1]).any())


def read_labels(file: Path | BinaryIO, where: str | None = None) -> MaskFile:
    """The labels of one PNG, whatever its bit depth: palette indices, or values of grey, which may be stored
    as equal red, green and blue, and with opaque alpha.

    A transparent pixel counts as label 0, if it has that value. ``where`` is the file in messages, if not its
    path. Raises UsageError, one line, for damage, colours, and pixels whose transparency says something else
    than their value.
    """
    where = where or str(file)
    image = load_png(file, "a mask of 8-bit labels", where)
    if image.mode in _ONE_CHANNEL:
        palette = _palette(image) if image.mode == "P" else None
        return MaskFile(np.array(image) // _grey_scale(file), palette)
    pixels: NDArray[Any] = np.array(image)  # [h, w, channels]
    alpha = pixels[..., -1] if image.mode in ("LA", "RGBA") else None
    values = pixels[..., 0]
    colors = pixels if alpha is None else pixels[..., :-1]
    if image.mode not in ("LA", "RGB", "RGBA") or (colors != colors[..., :1]).any():
        raise UsageError(
            f"{where}: the PNG's mode is {image.mode}, colours; expected labels: save it as 8-bit greyscale "
            "(L) whose values are the labels, as palette (P) whose indices are, or as .npy; or give the "
            "classes their colours, and --annotation-format color"
        )
    if depth_and_type(file)[0] > 8:
        raise UsageError(
            f"{where}: has {image.mode} channels of 16 bits; expected labels: save it as greyscale without "
            "alpha, of 8 or 16 bits"
        )
    return MaskFile(values, None, 0 if alpha is None else _transparent(where, values, alpha))


def _transparent(where: str, values: NDArray[Any], alpha: NDArray[Any]) -> int:
    """How many pixels are transparent. Raises UsageError where that contradicts their values."""
    partly, hidden = (alpha > 0) & (alpha < 255), (alpha == 0) & (values != 0)
    for wrong, how in ((partly, "partly transparent"), (hidden, "transparent and not 0")):
        if wrong.any():
            row, column = (int(i) for i in np.argwhere(wrong)[0])
            raise UsageError(
                f"{where}: {int(wrong.sum())} of {wrong.size} pixels are {how}, as at row {row}, column "
                f"{column}; expected labels: save it without transparency (flattened, edges not smoothed)"
            )
    return int((alpha == 0).sum())


def read_colors(path: Path) -> NDArray[np.int32]:
    """(h, w) of 0xRRGGBB, or TRANSPARENT; a grey value v is the colour (v, v, v).

    Raises UsageError, one line, for damage and for grey of 16 bits.
    """
    image = load_png(path, "a mask of colours")
    if image.mode not in ("RGB", "RGBA", "P", "1", "L", "LA"):
        raise UsageError(f"{path}: the PNG's mode is {image.mode}; expected colours of 8 bits in all masks")
    pixels: NDArray[Any] = np.array(image.convert("RGBA")).astype(np.int32)  # [h, w, rgba]
    values = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    return np.where(pixels[..., 3] == 0, TRANSPARENT, values).astype(np.int32)


def is_index(path: Path, index: int) -> NDArray[np.bool_]:
    """(h, w): pixels of that palette index; none in a PNG without a palette."""
    image = load_png(path, "a mask of colours")
    return np.asarray(
        (np.array(image) == index) if image.mode == "P" else np.zeros(image.size[::-1]), np.bool_
    )


def read_inside(path: Path) -> NDArray[np.bool_]:
    """(h, w) of the mask of one class: True where a pixel is neither black nor transparent.

    Raises UsageError, one line, for damage, and for several values or colours, because one class has one.
    """
    image = load_png(path, "the mask of one class")
    if image.mode in ("1", "I;16", "I;16B", "I"):
        values: NDArray[Any] = np.array(image).astype(np.int64)
    else:
        pixels = np.array(image.convert("RGBA")).astype(np.int64)  # [h, w, rgba]
        _check_opaque(path, pixels)
        values = np.where(pixels[..., 3] == 0, 0, pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2])
        if image.mode == "P" and values.all():  # no black: by the index, of which 0 is outside
            values = np.array(image).astype(np.int64)
        if image.mode in ("L", "LA"):
            values = values & 0xFF
    found = np.unique(values[values != 0])
    if len(found) > 1:
        colors = found.max() > 0xFF and image.mode not in ("1", "I;16", "I;16B", "I")
        titles = [f"#{value:06x}" if colors else str(value) for value in found.tolist()]
        raise UsageError(
            f"{path}: has {'colours' if colors else 'the values'} {few(titles)}; expected the mask of one "
            "class, black (0) outside and one other value inside; if it is the mask of all classes, call it "
            "{i}.png or {i}_mask.png; if its edges are smoothed, save it without"
        )
    return np.asarray(values != 0, np.bool_)


def _check_opaque(path: Path, pixels: NDArray[np.int64]) -> None:
    """Refuse (h, w, rgba) whose transparency leaves open what is inside."""
    alpha = pixels[..., 3]
    partly = int(((alpha > 0) & (alpha < 255)).sum())
    if partly:
        raise UsageError(
            f"{path}: {partly} of {alpha.size} pixels are partly transparent; expected the mask of one "
            "class: save it without smoothed edges"
        )
    if (alpha == 0).any() and (alpha != 0).any() and not pixels[alpha != 0][:, :3].any():
        raise UsageError(
            f"{path}: all that is drawn in it is black, and the rest is transparent; expected the mask of "
            "one class, black or transparent outside and white inside"
        )


def _grey_scale(file: Path | BinaryIO) -> int:
    """What Pillow multiplied the values by: it stretches greyscale of 2 and 4 bits to 0..255, no palette."""
    depth, color_type = depth_and_type(file)
    return 255 // (2**depth - 1) if color_type == 0 and depth in (2, 4) else 1


def _palette(image: Image.Image) -> tuple[str, ...]:
    flat = image.getpalette("RGB") or []
    return tuple("#{:02x}{:02x}{:02x}".format(*flat[i : i + 3]) for i in range(0, len(flat) - 2, 3))
