"""Folders of masks, and what reading them gives or says."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import UsageError
from pipeline.inputs.annotations.load import Annotations, load_annotations, open_annotations
from pipeline.settings.schema import AnnotationsConfig

GRID = (8, 8)


def labels_of(seed: int, shape: tuple[int, int] = GRID, num_classes: int = 4) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, num_classes, shape).astype(np.uint8)


def save_npy(folder: Path, *masks: Any) -> Path:
    for i, mask in enumerate(masks):
        np.save(folder / f"image_mask{i}.npy", mask)
    return folder


def load(folder: Path, num_images: int = 1, **options: Any) -> Annotations:
    grid, crop_rows = options.pop("grid", GRID), options.pop("crop_rows", None)
    config = AnnotationsConfig(folder=folder, **{"min_pixels": 0, **options})
    source = open_annotations(config)
    assert source.numbers == tuple(range(num_images))
    return load_annotations(source, source.numbers, grid=grid, crop_rows=crop_rows, config=config)


def message_of(folder: Path, num_images: int = 1, **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        load(folder, num_images, **options)
    message = str(caught.value)
    assert "\n" not in message and str(folder) in message
    return message


def png(shape: tuple[int, int], bits: int, color_type: int, rows: bytes) -> bytes:
    """A PNG of ``rows``, each a zero byte (no filter) and its pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", shape[1], shape[0], bits, color_type, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def grey_png(mask: np.ndarray[Any, Any], bits: int) -> bytes:
    """A greyscale PNG of 1, 2, 4, 8 or 16 bits a pixel: Pillow itself writes no 2 and no 4."""
    rows = b""
    for row in mask.tolist():
        digits = "".join(f"{value:0{bits}b}" for value in row)
        digits += "0" * (-len(digits) % 8)
        rows += b"\0" + bytes(int(digits[i : i + 8], 2) for i in range(0, len(digits), 8))
    return png(mask.shape, bits, 0, rows)


def save_picture(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*GRID, 3)).astype(np.uint8)).save(path)
