"""A small interpreter for tests: its description, its ensemble, its folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fstore.format import ClassInfo, LayerInfo
from pipeline.interpreter.description import EpochMetrics, InterpreterInfo, with_epoch
from pipeline.interpreter.files import save_interpreter
from pipeline.models.interpreter import InterpreterEnsemble, member_seeds

SEEDS = member_seeds(0, 2)
INFO = InterpreterInfo(
    members=2,
    widths=(5, 4),
    channels=6,
    classes=(
        ClassInfo(0, "background", "#000000"),
        ClassInfo(1, "skin", "#aabbcc"),
        ClassInfo(2, "hair", "#112233"),
    ),
    ignore=255,
    layers=(LayerInfo("4_a", (4, 4), 4, 0), LayerInfo("8_b", (8, 8), 2, 4)),
    grid=(16, 16),
    crop_rows=(2, 14),
    upsample="bilinear",
    generator={"architecture": "stylegan1", "sha256": "ab" * 32, "noise": "const", "noise_seed": 0},
    seeds=SEEDS,
    store={"layout": "dense", "num_images": 4},
    training={"batch_size": 64, "balance": 1.0, "seed": 0, "buffer_mb": 512},
)
TRAINED = with_epoch(with_epoch(INFO, EpochMetrics(0, 10, 0.7, 0.5), 0), EpochMetrics(1, 20, 0.6, 0.4), 0)


def ensemble() -> InterpreterEnsemble:
    """The untrained members."""
    return InterpreterEnsemble(3, 6, seeds=SEEDS, widths=(5, 4))


def saved(folder: Path, average: np.ndarray | None = None) -> Path:
    """Write the trained interpreter into ``folder``, which is returned."""
    save_interpreter(folder, ensemble(), TRAINED, average)
    return folder
