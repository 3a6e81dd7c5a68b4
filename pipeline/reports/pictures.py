"""Pictures of a page as data URLs: an image, its labels, its divergence, none larger than a thumbnail.

It knows arrays and bytes, and no stores. The encoded bytes are given too, for a server that sends them.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

THUMBNAIL = 256  # the most rows and columns of a picture in a page
SMALL = 128  # pictures up to this side are stored without loss: JPEG's blocks show when they are enlarged
JPEG_QUALITY = 85
LARGEST_BYTE = 255


@dataclass(frozen=True)
class Encoded:
    """The bytes of a picture file and their media type, such as ``image/png``."""

    content: bytes
    media_type: str

    @property
    def url(self) -> str:
        """The picture as a data URL."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.content).decode()}"


def thumbnail_size(shape: tuple[int, int], side: int | None = THUMBNAIL) -> tuple[int, int]:
    """Rows and columns of a picture of ``shape`` that fits a square of ``side``; None: as it is."""
    if side is None or max(shape) <= side:
        return shape
    rows, columns = (max(1, round(length * side / max(shape))) for length in shape)
    return rows, columns


def encode_picture(image: np.ndarray, side: int | None = THUMBNAIL) -> Encoded:
    """An (H, W, 3) uint8 image: WebP without loss where it is small, else JPEG."""
    rows, columns = thumbnail_size(image.shape[:2], side)
    picture = Image.fromarray(image)
    if (rows, columns) != image.shape[:2]:
        picture = picture.resize((columns, rows), Image.Resampling.LANCZOS, reducing_gap=3)
    if max(rows, columns) <= SMALL:
        return Encoded(_saved(picture, "WEBP", lossless=True, quality=50, method=2), "image/webp")
    return Encoded(_saved(picture, "JPEG", quality=JPEG_QUALITY, subsampling=0), "image/jpeg")


def encode_label_map(labels: np.ndarray, side: int | None = THUMBNAIL) -> Encoded:
    """(H, W) uint8 or uint16 class ids as a grey PNG of 8 bits.

    Two-byte ids are a colour PNG: red is the lower byte, green the higher. A smaller picture takes the
    nearest pixels, so that every value in it is an id of the image.
    """
    small = nearest(labels, thumbnail_size((labels.shape[0], labels.shape[1]), side))
    if small.dtype == np.uint8:
        return Encoded(_saved(Image.fromarray(small), "PNG"), "image/png")
    low, high = small & LARGEST_BYTE, small >> 8
    pixels = np.stack([low, high, np.zeros_like(low)], axis=2).astype(np.uint8)  # [H, W, 3]
    return Encoded(_saved(Image.fromarray(pixels), "PNG"), "image/png")


def encode_divergence(divergence: np.ndarray, largest: float, side: int | None = THUMBNAIL) -> Encoded:
    """(H, W) float divergences as a grey PNG: 0 stays 0, ``largest`` and above become 255, and so does what
    is not finite.
    """
    rows, columns = thumbnail_size((divergence.shape[0], divergence.shape[1]), side)
    values = np.nan_to_num(divergence.astype(np.float32), nan=np.inf, posinf=np.inf)
    scaled = np.minimum(values / max(largest, 1e-12), 1.0) * LARGEST_BYTE
    picture = Image.fromarray(scaled)
    if (rows, columns) != divergence.shape:
        picture = picture.resize((columns, rows), Image.Resampling.BOX)
    pixels = np.asarray(picture).round().astype(np.uint8)
    return Encoded(_saved(Image.fromarray(pixels), "PNG"), "image/png")


def nearest(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) values at the centres of a raster of ``shape`` over the same area."""
    if values.shape == shape:
        return values
    rows, columns = (
        ((np.arange(new) + 0.5) * (old / new)).astype(int)
        for new, old in zip(shape, values.shape, strict=True)
    )
    return values[rows[:, None], columns]


def _saved(picture: Image.Image, format: str, **options: int | bool) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=format, **options)
    return buffer.getvalue()
