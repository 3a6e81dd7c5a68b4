"""Small stores with something to learn, settings for a short run, and a kill between two epochs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import fstore
from fstore.format import ClassInfo, FeatureMeta, LayerInfo
from pipeline.settings.schema import TrainConfig
from pipeline.stages.train import epochs

CLASSES = (ClassInfo(0, "sky", "#0000ff"), ClassInfo(1, "earth", "#884400"), ClassInfo(2, "sun", "#ffff00"))
HEIGHT, WIDTH, IGNORE = 32, 40, 255
SMALL = TrainConfig(
    members=3,
    batch_size=32,
    max_epochs=4,
    epoch_pixels=640,
    hidden=(8, 6),
    buffer_mb=8,
    patience=99,
    final_epochs=0,
)


def mask_of(image: int) -> np.ndarray:
    """Sky above earth, a sun in the sky, an ignored column; no two images are alike."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    mask[12 + 2 * image :] = 1
    mask[2:8, 3 * image : 3 * image + 8] = 2
    mask[:, -1] = IGNORE
    return mask


def write_store(
    path: Path,
    layout: str = "dense",
    num_images: int = 5,
    num_written: int | None = None,
    *,
    offset: float = 0.0,
    overwrite: bool = False,
    shown: Callable[[int], np.ndarray] | None = None,
    annotated: Callable[[int], np.ndarray] | None = None,
) -> Path:
    """A store whose features tell its classes apart, with noise, and ``offset`` added to all of them.

    ``shown``: the masks that the features tell of, ``annotated`` those that the store holds; of both None is
    ``mask_of``.
    """
    layers = (LayerInfo("coarse", (8, 10), 3, 0), LayerInfo("fine", (HEIGHT, WIDTH), 4, 3))
    meta = FeatureMeta(
        layout=layout,
        grid=(HEIGHT, WIDTH),
        crop_rows=(0, HEIGHT),
        layers=layers,
        classes=CLASSES,
        ignore=IGNORE,
        generator={"architecture": "stylegan1", "sha256": "ab" * 32},
    )
    average = np.arange(4, dtype=np.float32)
    writer = fstore.create(
        path, meta, num_images=num_images, latent_shape=(4,), average_latent=average, overwrite=overwrite
    )
    for image in range(num_images if num_written is None else num_written):
        rng = np.random.default_rng(image)
        mask = (shown or mask_of)(image)
        fine = rng.normal(size=(4, HEIGHT, WIDTH)) * 0.3 + 2 * (mask == np.arange(4)[:, None, None])
        maps = [torch.from_numpy(m).float() for m in (rng.normal(size=(3, 8, 10)) + offset, fine + offset)]
        picture = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
        writer.write_image(
            image, maps, picture, (annotated or mask_of)(image), np.full(4, image, dtype=np.float32)
        )
    return path


class Killed(BaseException):
    """Nothing between here and the test catches it, as nothing catches a kill."""


def kill_before_epoch(monkeypatch: pytest.MonkeyPatch, last: int) -> None:
    """Have training die before it begins the epoch ``last``, counted from 0."""
    run_epoch = epochs._run_epoch

    def run_or_die(learner: object, batches: object, epoch: int, bar: object) -> float:
        if epoch == last:
            raise Killed
        return run_epoch(learner, batches, epoch, bar)

    monkeypatch.setattr(epochs, "_run_epoch", run_or_die)
