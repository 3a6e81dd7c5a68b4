"""Encodes images and labels as PNG and JPEG files in memory, with pillow.

It knows arrays and bytes. It knows no stores and no folders.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fstore.meta import ClassInfo
from pipeline.exports.formats.protocol import ExportInfo

SUFFIXES = {"png": ".png", "jpeg": ".jpg"}
IGNORE_COLOR = (224, 224, 192)  # VOC's colour of pixels that belong to no class
PALETTE_COLORS = 256
BYTE_VALUES = 256


def encode_image(image: np.ndarray, info: ExportInfo) -> bytes:
    """An (H, W, 3) uint8 image, as the export stores images."""
    if info.image_encoding == "jpeg":
        # 4:4:4: with the usual halved colours, edges between classes lose theirs
        return _save(Image.fromarray(image), format="JPEG", quality=info.jpeg_quality, subsampling=0)
    # After PNG's filters a picture's bytes hardly ever repeat but for runs. Looking for no more takes a third
    # of the time and gives files of the same size: docs/performance.md.
    return _save(Image.fromarray(image), format="PNG", compress_type=zlib.Z_RLE)


def encode_png(image: np.ndarray) -> bytes:
    """A grey PNG of (H, W) uint8 or uint16."""
    return _save(Image.fromarray(image), format="PNG")


def encode_labels(labels: np.ndarray, palette: bytes, texts: Mapping[str, str] | None = None) -> bytes:
    """An index PNG whose palette shows the classes' colours; grey of 16 bits for labels of two bytes.

    ``texts``: keys and values of text chunks that it carries.
    """
    more = {} if texts is None else {"pnginfo": _text_chunks(texts)}
    if labels.dtype != np.uint8:
        return _save(Image.fromarray(labels), format="PNG", **more)
    height, width = labels.shape
    picture = Image.frombytes("P", (width, height), np.ascontiguousarray(labels).tobytes())
    picture.putpalette(palette)
    return _save(picture, format="PNG", **more)


def _text_chunks(texts: Mapping[str, str]) -> PngInfo:
    chunks = PngInfo()
    for key, value in texts.items():
        chunks.add_text(key, value)
    return chunks


def one_byte(labels: np.ndarray, ignore: int | None) -> np.ndarray:
    """Labels as uint8, with the ignored one as 255. The classes' own must be less, or 255 where there is
    none that is ignored.
    """
    if ignore is not None:
        labels = np.where(labels == ignore, BYTE_VALUES - 1, labels)
    return labels.astype(np.uint8)


def label_palette(classes: Sequence[ClassInfo], ignore: int | None) -> bytes:
    """256 colours of three bytes: each class's at its label, VOC's void at ``ignore``, black elsewhere."""
    colors = bytearray(3 * PALETTE_COLORS)
    for entry in classes[:PALETTE_COLORS]:
        colors[3 * entry.id : 3 * entry.id + 3] = bytes.fromhex(entry.color[1:])
    if ignore is not None and ignore < PALETTE_COLORS:
        colors[3 * ignore : 3 * ignore + 3] = bytes(IGNORE_COLOR)
    return bytes(colors)


def _save(picture: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, **options)  # type: ignore[arg-type]
    return buffer.getvalue()
