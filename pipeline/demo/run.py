"""``dgan demo``: the three stages on the embedded generator, measured against the exact masks.

Every latent of the demo has a known mask, so the result can be measured: by the mean intersection over union
on fresh latents. The demo calls the stages as the command line does; no stage knows of the demo.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import fstore
from fstore.display import human_bytes, human_duration
from pipeline import embedded
from pipeline.errors import UsageError
from pipeline.labelling.confusion import confusion, mean_iou
from pipeline.machine.memory import peak_host_bytes
from pipeline.settings.files import load_demo_config
from pipeline.settings.schema import Config
from pipeline.stages.extract import stage as extract
from pipeline.stages.synthesize import stage as synthesize
from pipeline.stages.train import stage as train

MARK = "demo.txt"  # a folder without it is never emptied
STORES = ("features.zarr", "features-pyramid.zarr", "dataset.zarr")
RESULTS = (*STORES, "interpreter", "labels.png", "keypoints.png")
PICTURE_COLUMNS = 8
PICTURE_SCALE = 3


@dataclass(frozen=True)
class Agreement:
    """Mean IoU over all classes against the exact masks, for all images, the kept and the dropped ones.

    ``per_class``: the IoU of each class over all images.
    """

    everything: float
    kept: float
    dropped: float
    per_class: dict[str, float]


class Stopwatch:
    """Runs stages one after another and keeps how long each took, in ``seconds`` by its name."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, stage: Callable[[], object]) -> None:
        start = time.perf_counter()
        self._say(f"{name} ...")
        stage()
        self.seconds[name] = time.perf_counter() - start


def run_demo(out: Path, num: int, device: torch.device, say: Callable[[str], None]) -> Agreement:
    """Run the pipeline into ``out`` and print a table of what it took and reached. Returns the agreement.

    ``num`` fresh latents are labelled. Raises UsageError where ``out`` holds something else than an earlier
    demo.
    """
    config = demo_config(out, num)
    timed = Stopwatch(say)
    job = extract.prepare(config, overwrite=True)  # an earlier demo's store is about to be deleted
    prepare_folder(out)
    timed("extract-features (dense)", lambda: say(extract.extract(job, device, say=say)))
    pyramid = replace(job, meta=replace(job.meta, layout="pyramid"), store=str(out / "features-pyramid.zarr"))
    timed("extract-features (pyramid)", lambda: say(extract.extract(pyramid, device, say=say)))
    timed("train", lambda: train.train(config.features.store, config.train, device=device, report=say))
    timed("synthesize", lambda: say(synthesize.synthesize(synthesize.prepare(config), device)))
    agreement = measure(config.synthesize.store)
    picture = out / "labels.png"
    write_picture(config.synthesize.store, picture)
    _report(config, pyramid.store, timed.seconds, agreement, picture, say)
    return agreement


def demo_config(out: Path, num: int) -> Config:
    """The demo's configuration with all that it writes in ``out``, ``num`` images of it to synthesize."""
    config = load_demo_config()
    return replace(
        config,
        features=replace(config.features, store=str(out / "features.zarr")),
        train=replace(config.train, out=out / "interpreter"),
        synthesize=replace(
            config.synthesize, num=num, store=str(out / "dataset.zarr"), interpreter=out / "interpreter"
        ),
    )


def prepare_folder(out: Path) -> None:
    """Empty the folder of an earlier demo and mark it as the demo's.

    In an empty folder every stage runs whole, and its time is worth telling. Raises UsageError for a folder
    that holds anything and does not bear the mark: it may be somebody's work.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file, expected a folder for the demo; pass another --out")
    found = sorted(entry.name for entry in out.iterdir()) if out.exists() else []
    if found and MARK not in found:
        raise UsageError(
            f"{out}: holds {found[0]!r} and no earlier demo; pass an empty or new folder with --out"
        )
    for name in RESULTS:
        path = out / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).write_text("Written by `dgan demo`, which empties this folder when it is run again.\n")


def measure(store: str) -> Agreement:
    """Compare a demo dataset's labels with the exact masks of its latents.

    Pixels of all images are counted together, and all classes weigh the same.
    """
    dataset = fstore.open(store)
    assert isinstance(dataset, fstore.Dataset)
    num_classes = len(dataset.meta.classes)
    labels, latents = dataset.labels.compute(), dataset.latents.compute()
    truth = embedded.exact_masks(latents)
    matrices = [
        confusion(torch.from_numpy(t).flatten(), torch.from_numpy(p).flatten(), num_classes)
        for t, p in zip(truth, labels, strict=True)
    ]
    stacked = torch.stack(matrices)  # [n, K, K]
    kept = torch.from_numpy(dataset.kept)
    total = stacked.sum(0)
    intersection = total.diagonal().double()
    union = total.sum(0) + total.sum(1) - intersection
    per_class = {info.name: float(intersection[info.id] / union[info.id]) for info in dataset.meta.classes}
    dropped = mean_iou(stacked[~kept].sum(0)) if bool((~kept).any()) else float("nan")
    return Agreement(mean_iou(total), mean_iou(stacked[kept].sum(0)), dropped, per_class)


def shown_images(dataset: fstore.Dataset) -> np.ndarray:
    """Positions (n,) of the images in the demo's picture: the most certain ones, then the least certain."""
    order = np.argsort(dataset.uncertainty, kind="stable")
    half = PICTURE_COLUMNS // 2
    return np.concatenate([order[: PICTURE_COLUMNS - half], order[-half:]])


def write_picture(store: str, path: Path) -> None:
    """Write a PNG of the most certain images, on the left, and the least certain ones.

    It has three rows: the images, their labels and their divergence.
    """
    dataset = fstore.open(store)
    assert isinstance(dataset, fstore.Dataset)
    chosen = shown_images(dataset)
    palette = np.array(
        [[int(c.color[i : i + 2], 16) for i in (1, 3, 5)] for c in dataset.meta.classes], dtype=np.uint8
    )
    images = dataset.images.compute()[chosen]  # [n, H, W, 3]
    labels = palette[dataset.labels.compute()[chosen]]
    divergence = np.nan_to_num(dataset.divergence.compute()[chosen].astype(np.float32))  # it may have NaN
    divergence /= max(float(divergence.max()), 1e-6)  # the brightest pixel of the picture is white
    heat = np.stack(
        [np.clip(divergence * 3 - i, 0, 1) for i in range(3)], axis=-1
    )  # black, red, yellow, white
    rows = [np.concatenate(list(part), axis=1) for part in (images, labels, (heat * 255).astype(np.uint8))]
    picture = Image.fromarray(np.concatenate(rows, axis=0))
    picture.resize(
        (picture.width * PICTURE_SCALE, picture.height * PICTURE_SCALE), Image.Resampling.NEAREST
    ).save(path)


def time_rows(seconds: dict[str, float]) -> list[tuple[str, str]]:
    """(name, time) of each stage, and of all together."""
    rows = [(f"time, {name}", human_duration(value)) for name, value in seconds.items()]
    return [*rows, ("time, all", human_duration(sum(seconds.values())))]


def _report(
    config: Config,
    pyramid: str,
    seconds: dict[str, float],
    agreement: Agreement,
    picture: Path,
    say: Callable[[str], None],
) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="dgan demo", show_header=False)
    for row in time_rows(seconds):
        table.add_row(*row)
    for name, store in (("dense", config.features.store), ("pyramid", pyramid)):
        table.add_row(f"features on disk, {name}", human_bytes(fstore.open(store).location.used_bytes() or 0))
    table.add_row("peak memory", human_bytes(peak_host_bytes()))
    table.add_row(f"mIoU against exact masks, all {config.synthesize.num}", f"{agreement.everything:.4f}")
    table.add_row(f"mIoU, kept (keep {config.synthesize.keep})", f"{agreement.kept:.4f}")
    table.add_row("mIoU, dropped", f"{agreement.dropped:.4f}")
    worst = min(agreement.per_class, key=lambda name: agreement.per_class[name])
    table.add_row("worst class", f"{worst} {agreement.per_class[worst]:.4f}")
    table.add_row("picture (images, labels, divergence)", str(picture))
    Console(file=sys.stdout, width=100).print(table)
