"""Two small domains with exact pairs, and trainings on them that take no time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from support.stores import tree_bytes

from pipeline.settings.schema import Config, TranslateConfig
from pipeline.translate.training import run
from pipeline.translate.training.job import TranslateJob

CPU = torch.device("cpu")
SIDE = 16
SETTINGS: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 2,
    "width": 2,
    "precision": "float32",
    "learning_rate": 0.002,
}


def domains(num: int, seed: int = 0, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of two grey levels, and the same inverted: (num, side, side, 3) uint8 each."""
    random = np.random.default_rng(seed)
    blocks = random.choice(np.array([60, 220], np.uint8), (num, side // 4, side // 4))
    images = blocks.repeat(4, 1).repeat(4, 2)[..., None].repeat(3, 3)
    return images, 255 - images


def write_domains(folder: Path, num: int = 6, target: int | None = None, side: int = SIDE) -> Path:
    """``source/`` and ``target/`` in a folder; with another number in ``target`` than in the source."""
    source, _ = domains(num, side=side)
    _, other = domains(target or num, side=side)
    for name, images in (("source", source), ("target", other)):
        (folder / name).mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(folder / name / f"image_{number}.png")
    return folder


def prepared(data: Path, out: Path, *, overwrite: bool = False, **settings: Any) -> TranslateJob:
    """A training of the domains in ``data``."""
    options = TranslateConfig(source=str(data / "source"), target=str(data / "target"), out=out)
    options = replace(options, **{**SETTINGS, **settings})
    return run.prepare(Config(translate=options), CPU, overwrite=overwrite)


def trained(data: Path, out: Path, say: Callable[[str], None] = print, **settings: Any) -> list[str]:
    """The lines of a training to its end."""
    return run.train(prepared(data, out, **settings), CPU, say=say)


def log_of(folder: Path) -> list[dict[str, Any]]:
    """The lines of the log."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def compared(folder: Path) -> dict[str, Any]:
    """What must be equal of two runs: every byte but the time of day, and how fast it went."""
    files: dict[str, Any] = tree_bytes(folder)
    description = json.loads(files.pop("translator.json"))
    del description["created"]
    lines = [json.loads(line) for line in files.pop("log.jsonl").splitlines()]
    for line in lines:
        del line["images_per_second"]
    return {**files, "translator.json": description, "log.jsonl": lines}
