"""What labels are worth to a segmenter, on the demo: mIoU on photographs by the number of annotated images.

    python -m benchmarks.downstream --folder downstream

Some of the demo's images are annotated. *dgan* learns an interpreter from them and labels ``--num`` fresh
images, from all of which, or from the least uncertain 90%, a segmenter learns. *The annotated images alone*
are what there would be without it, as they are, or mirrored and recoloured at random. *Photographs* are as
many pictures of the renderer with exact masks as *dgan* has labelled: what no annotator could draw. All
segmenters are DeepLabV3 with random first weights, and learn by Adam in as many steps of 8 images.

They are tested on fresh photographs: pictures of the renderer, which the demo's generator only imitates, with
exact masks. mIoU is that of `dgan segment test`: each of five parts of the photographs chooses an epoch,
which the others score. The figures are means over seeds, of everything, with their standard deviation.

What is done lies in ``--folder``, and the same command goes on with the rest.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.downstream_inputs import (
    TEST_SEED,
    Stores,
    images_of,
    make_stores,
    open_written,
    real_images,
)
from benchmarks.measure import machine, working_folder
from pipeline.machine.device import set_threads
from pipeline.segment.testing import run as testing
from pipeline.segment.testing.checks import number_of_folds
from pipeline.segment.testing.job import ScoringJob
from pipeline.segment.trained import open_trained
from pipeline.segment.training import run as training
from pipeline.segment.training.images import OpenedImages
from pipeline.segment.training.job import make_job
from pipeline.settings.schema import SegmentConfig

BATCH = 8
LABELS, PHOTOGRAPHS = "labels of the dataset, against exact masks", "photographs with exact masks"
KEPT, ALL = "dgan, the 90% that the filter keeps", "dgan, all images"
ALONE, CHANGED = "the annotated images alone", "the annotated images, mirrored and recoloured"
ROWS = (KEPT, ALL, ALONE, CHANGED)
SETTINGS = (
    *("num", "steps", "backbone", "resolution", "learning_rate"),
    *("members", "interpreter_steps", "test"),
)
"""That a folder is of; more seeds and numbers of annotated images may come later."""
CHANGES: dict[str, dict[str, Any]] = {CHANGED: {"flip": True, "color": 0.3}}


@dataclass(frozen=True)
class Cell:
    """One segmenter of a seed: a row of the table, and how many images are annotated."""

    row: str
    annotated: int
    miou: float


def cells_of(seed: int, options: argparse.Namespace) -> Iterator[Cell]:
    """All segmenters of a seed, and the labels of its datasets."""
    for annotated in options.annotated:
        here = options.folder / f"seed-{seed}" / f"annotated-{annotated}"
        stores = make_stores(
            here,
            seed,
            annotated,
            options.num,
            members=options.members,
            interpreter_steps=options.interpreter_steps,
        )
        yield Cell(LABELS, annotated, stores.label_miou)
        for row in ROWS:
            yield measured(row, annotated, opened(row, stores, options.num), seed, options, here)
    if options.photographs:
        here, like = options.folder / f"seed-{seed}", images_of(stores.features, options.num, kept_only=False)
        images = real_images(here / "photographs", options.num, seed, like)
        yield measured(PHOTOGRAPHS, options.num, images, seed, options, here)


def opened(row: str, stores: Stores, num: int) -> OpenedImages:
    """The images that the segmenter of a row learns from."""
    path = stores.dataset if row in (KEPT, ALL) else stores.features
    return images_of(path, num, kept_only=row == KEPT)


def measured(
    row: str, annotated: int, images: OpenedImages, seed: int, options: argparse.Namespace, folder: Path
) -> Cell:
    """Train the segmenter of a row and test it; or what an earlier run has found. Weights are deleted."""
    out = folder / row.replace(",", "").replace("%", "").replace(" ", "-")
    scores = out / "scores.json"
    if not scores.exists():
        test(train(images, out, seed, row, options), images, options)
        for weights in out.glob("*.pth"):
            weights.unlink()
    return Cell(row, annotated, json.loads(scores.read_text())["miou"])


def train(images: OpenedImages, out: Path, seed: int, row: str, options: argparse.Namespace) -> Path:
    """A segmenter in ``out``."""
    config = SegmentConfig(
        backbone=options.backbone,
        resolution=options.resolution,
        epochs=max(1, round(options.steps / (options.num // BATCH))),
        batch_size=BATCH,
        seed=seed,
        learning_rate=options.learning_rate,
        out=out,
        **CHANGES.get(row, {}),
    )
    device, start = torch.device("cpu"), time.monotonic()
    job = make_job(config, [images.source], images, device, overwrite=False)
    training.train_one(job, device, lambda line: None)
    print(
        f"{out}: {config.epochs} epochs of {job.plan.num_steps} steps, {time.monotonic() - start:.0f} s",
        flush=True,
    )
    return out


def test(segmenter: Path, like: OpenedImages, options: argparse.Namespace) -> None:
    """Write ``scores.json`` beside the weights."""
    photographs = open_written(options.folder / "test", options.test, TEST_SEED, like)
    trained = open_trained(segmenter, None)
    folds, _ = number_of_folds(None, options.test)
    epochs = tuple(trained.folder.epochs) if folds else (trained.last_epoch,)
    job = ScoringJob(trained, photographs, segmenter / "scores.json", folds, epochs)
    testing.test(job, torch.device("cpu"), say=lambda line: None)


def check_settings(options: argparse.Namespace) -> None:
    """End the program where the folder is of other settings than these."""
    path, settings = options.folder / "settings.json", {name: getattr(options, name) for name in SETTINGS}
    if path.exists() and json.loads(path.read_text()) != settings:
        raise SystemExit(f"{path}: {path.read_text()} expected {json.dumps(settings)}; name another --folder")
    path.write_text(json.dumps(settings) + "\n")


def markdown(cells: list[Cell], annotated: list[int], num: int) -> list[str]:
    """The table: rows of ways, columns of annotated images."""
    columns = [count for count in (*annotated, num) if any(cell.annotated == count for cell in cells)]
    lines = [
        f"| learnt from | {' | '.join(f'{count:,} annotated' for count in columns)} |",
        f"|---|{'--:|' * len(columns)}",
    ]
    for row in dict.fromkeys(cell.row for cell in cells):
        found = [[cell.miou for cell in cells if (cell.row, cell.annotated) == (row, n)] for n in columns]
        lines.append(f"| {row} | {' | '.join(map(shown, found))} |")
    return lines


def shown(values: list[float]) -> str:
    """Mean and standard deviation over seeds."""
    if not values:
        return ""
    deviation = f" +- {np.std(values):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{deviation}"


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="What labels are worth to a segmenter, on the demo.")
    parser.add_argument("--annotated", type=int, nargs="+", default=[1, 4, 16], help="images, ascending")
    parser.add_argument("--num", type=int, default=800, help="images to synthesize")
    parser.add_argument("--steps", type=int, default=600, help="of each segmenter, rounded to whole epochs")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--backbone", default="mobilenet_v3")
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--members", type=int, default=5, help="of the interpreter")
    parser.add_argument("--interpreter-steps", type=int, default=2000)
    parser.add_argument("--test", type=int, default=200, help="photographs to test on")
    parser.add_argument("--photographs", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--folder", type=Path, default=None, help="where all lies; default: a temporary one")
    parser.add_argument("--quick", action="store_true", help="toy sizes: whether it runs")
    options = parser.parse_args(arguments)
    if options.quick:
        toy = {"annotated": [1, 2], "num": 16, "steps": 4, "members": 2, "interpreter_steps": 20, "test": 5}
        vars(options).update(toy | {"resolution": 32, "seeds": 1})
    if options.num < BATCH or options.steps < 1:
        parser.error(f"got --num {options.num} and --steps {options.steps}, expected at least {BATCH} and 1")
    set_threads(options.threads)
    where = machine()
    with working_folder(options.folder) as options.folder:
        check_settings(options)
        cells = [cell for seed in range(options.seeds) for cell in cells_of(seed, options)]
    print(f"\nmIoU on {options.test} photographs, {options.seeds} seeds; {options.backbone}, "
          f"{options.resolution} px, about {options.steps} steps of {BATCH} images; {where}\n")  # fmt: skip
    print("\n".join(markdown(cells, options.annotated, options.num)))


if __name__ == "__main__":
    main()
