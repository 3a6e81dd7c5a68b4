"""A feature store of squares on plain ground, with faults in its annotations; no network is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import fstore
from fstore import format as fmt

SIDE = 32
NAMES = ("background", "</script><b>hostile</b> \"'", "never drawn")
COLORS = ("#0000ff", "#ff0000", "#00ff00")
NUMBERS = (10, 11, 12, 13)
"""The images' numbers: exact, a mask moved by 4 pixels to the right, a hole of 2 x 2 pixels, exact."""
SLIPPED, HOLED = 11, 12
HOLE = (14, 15, 16, 17)  # top, left, bottom, right


def true_mask(place: int) -> np.ndarray:
    """(32, 32): a square of class 1, 14 pixels wide, further down in each image."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[6 + 2 * place : 20 + 2 * place, 6:20] = 1
    return mask


def drawn_mask(place: int) -> np.ndarray:
    """The mask that somebody has drawn."""
    mask = true_mask(place)
    if NUMBERS[place] == SLIPPED:
        return np.roll(mask, 4, axis=1)
    if NUMBERS[place] == HOLED:
        top, left, bottom, right = HOLE
        mask[top:bottom, left:right] = 0
    return mask


def picture(place: int) -> np.ndarray:
    """(32, 32, 3): what the true mask shows."""
    return np.array([[40, 60, 80], [200, 150, 120]], np.uint8)[true_mask(place)]


def write_annotated(path: Path, num: int = 4) -> Path:
    """The store, with the first ``num`` of its 4 images committed; returns its path."""
    classes = tuple(
        fmt.ClassInfo(i, name, color) for i, (name, color) in enumerate(zip(NAMES, COLORS, strict=True))
    )
    layers = fmt.build_layers([("b4", (4, 4), 3)], (SIDE, SIDE))
    meta = fmt.FeatureMeta(
        "dense",
        (SIDE, SIDE),
        (0, SIDE),
        layers,
        classes,
        generator={"sha256": "0" * 64},
        inputs={"image_numbers": list(NUMBERS)},
    )
    writer = fstore.create(path, meta, num_images=len(NUMBERS), latent_shape=(2,))
    for place in range(num):
        maps = [torch.zeros(3, 4, 4)]
        writer.write_image(place, maps, picture(place), drawn_mask(place), np.zeros(2, np.float32))
    writer.close()
    return path
