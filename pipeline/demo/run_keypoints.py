"""``dgan demo --task keypoints``: the three stages on the embedded generator, and how good the result is.

The renderer says exactly where the keypoints of any latent lie, so the result can be measured on fresh
latents. The demo calls the stages as the command line does; no stage knows of the demo.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

import fstore
from fstore.display import human_bytes
from pipeline import embedded
from pipeline.demo.run import Stopwatch, demo_config, prepare_folder, shown_images, time_rows
from pipeline.labelling.heat_maps import pck
from pipeline.machine.memory import peak_host_bytes
from pipeline.settings.schema import KEYPOINTS, Config
from pipeline.stages.extract import stage as extract
from pipeline.stages.synthesize import stage as synthesize
from pipeline.stages.train import stage as train

STEPS = 4000  # of training: a minute on one core, and the error falls hardly any further
PARTS = (0.15, 0.10, 0.05)  # of the larger image side
SCALE = 4


@dataclass(frozen=True)
class Nearness:
    """How near a dataset's keypoints are to the exact ones.

    ``everything`` and ``kept``: PCK by the part of the image's side, over all images and over the kept ones.
    ``per_keypoint``: that of each keypoint at the smallest part. ``median_pixels``: the median distance.
    """

    everything: dict[float, float]
    kept: dict[float, float]
    per_keypoint: dict[str, float]
    median_pixels: float


def run_keypoint_demo(out: Path, num: int, device: torch.device, say: Callable[[str], None]) -> Nearness:
    """Run the pipeline into ``out`` and print a table of what it took and reached. Returns the nearness.

    ``num`` fresh latents are annotated. Raises UsageError where ``out`` holds something else than an earlier
    demo.
    """
    config = _config(out, num)
    timed = Stopwatch(say)
    job = extract.prepare(config, overwrite=True)  # an earlier demo's store is about to be deleted
    prepare_folder(out)
    timed("extract-features", lambda: say(extract.extract(job, device, say=say)))
    timed("train", lambda: train.train(config.features.store, config.train, device=device, report=say))
    timed("synthesize", lambda: say(synthesize.synthesize(synthesize.prepare(config), device)))
    nearness = measure(config.synthesize.store)
    picture = out / "keypoints.png"
    write_picture(config.synthesize.store, picture)
    _report(config, timed.seconds, nearness, picture)
    return nearness


def _config(out: Path, num: int) -> Config:
    config = demo_config(out, num)
    return replace(
        config,
        annotations=replace(config.annotations, task=KEYPOINTS),
        features=replace(config.features, layout="pyramid"),
        train=replace(config.train, steps=STEPS),
    )


def measure(store: str) -> Nearness:
    """Compare a demo dataset's keypoints with the exact ones of its latents."""
    dataset = fstore.open(store)
    assert isinstance(dataset, fstore.Dataset) and dataset.meta.keypoints is not None
    found = dataset.keypoints.compute()  # [n, K, 3]
    exact = embedded.exact_keypoints(dataset.latents.compute())
    truth = np.concatenate([exact, np.ones((*exact.shape[:2], 1), np.float32)], axis=2)
    side, kept, last = max(dataset.meta.shape), dataset.kept, PARTS[-1]
    return Nearness(
        {part: pck(found, truth, part, side) for part in PARTS},
        {part: pck(found[kept], truth[kept], part, side) for part in PARTS},
        {
            name: pck(found[:, k : k + 1], truth[:, k : k + 1], last, side)
            for k, name in enumerate(dataset.meta.keypoints.names)
        },
        float(np.median(np.linalg.norm(found[..., :2] - exact, axis=2))),
    )


def write_picture(store: str, path: Path) -> None:
    """Write a PNG of the most certain and the least certain images, and below them their heat maps."""
    dataset = fstore.open(store)
    assert isinstance(dataset, fstore.Dataset)
    chosen = shown_images(dataset)
    heat = dataset.heatmaps.compute()[chosen].astype(np.float32).max(axis=3).clip(0, 1)  # [n, H, W]
    grey = np.repeat((heat * 255).astype(np.uint8)[..., None], 3, axis=3)
    rows = [np.concatenate(list(part), axis=1) for part in (dataset.images.compute()[chosen], grey)]
    picture = Image.fromarray(np.concatenate(rows, axis=0))
    size = picture.width * SCALE, picture.height * SCALE
    picture = picture.resize(size, Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(picture)
    for column, points in enumerate(dataset.keypoints.compute()[chosen]):
        left = column * dataset.meta.shape[1]
        for x, y, _ in points.tolist():
            cx, cy, radius = (left + x) * SCALE, y * SCALE, SCALE
            draw.ellipse((cx - radius, cy - radius, cx + radius, cy + radius), outline="white", fill="red")
    picture.save(path)


def _report(config: Config, seconds: dict[str, float], nearness: Nearness, picture: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="dgan demo, keypoints", show_header=False)
    for row in time_rows(seconds):
        table.add_row(*row)
    table.add_row("peak memory", human_bytes(peak_host_bytes()))
    for part in PARTS:
        share = f"{nearness.everything[part]:.4f}, kept {nearness.kept[part]:.4f}"
        table.add_row(f"PCK@{part * 100:.0f} against exact keypoints, all {config.synthesize.num}", share)
    table.add_row("median distance", f"{nearness.median_pixels:.2f} pixels of 64")
    worst = min(nearness.per_keypoint, key=lambda name: nearness.per_keypoint[name])
    table.add_row(f"worst keypoint at {PARTS[-1] * 100:.0f}%", f"{worst} {nearness.per_keypoint[worst]:.4f}")
    table.add_row("picture (keypoints, heat maps)", str(picture))
    Console(file=sys.stdout, width=100).print(table)
