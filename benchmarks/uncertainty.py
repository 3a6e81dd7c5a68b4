"""What uncertainty says of error, on the demo: what `dgan calibrate` finds on 16 annotated images, and what
is true of fresh images, whose exact masks are known.

    python -m benchmarks.uncertainty

For each seed 16 latents are annotated, an interpreter learns from all of them and labels the fresh latents,
and `calibrate` measures the annotated images in folds. For each score the table shows Spearman's rho between
uncertainty and the share of wrong pixels, on both; the mean gain of mIoU over the shares kept; the mIoU of
the fresh images by the share kept; the share that `calibrate` recommends, and what keeping it gains on the
fresh images; and the share that the same rule finds where it sees all of the fresh images. The order of the
images by their *true error* is the best that a score could do, and an order by chance gains nothing.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

import fstore
from benchmarks.measure import machine, print_table, working_folder
from pipeline import embedded
from pipeline.calibration import run
from pipeline.calibration.figures import measure, score_figures
from pipeline.calibration.predictions import Predictor
from pipeline.quality.calibration_record import ScoreFigures
from pipeline.quality.uncertainty_figures import kept_curve
from pipeline.settings.files import load_demo_config
from pipeline.settings.schema import Config
from pipeline.stages.extract import stage as extract
from pipeline.stages.train import stage as train

FRESH_SEED = 1000
SHARES = ("1", "0.95", "0.9", "0.8", "0.7", "0.5")
CPU = torch.device("cpu")


def quiet(_: str) -> None:
    """The stages' lines are not of this table."""


def extracted(folder: Path, num: int, seed: int) -> Path:
    """A feature store of ``num`` of the demo's latents with exact masks."""
    folder.mkdir(parents=True, exist_ok=True)
    store = folder / "features.zarr"
    embedded.write_inputs(folder, num, seed)
    config = load_demo_config()
    config = replace(
        config,
        latents=replace(config.latents, file=folder / "latents.npy"),
        annotations=replace(config.annotations, folder=folder / "masks"),
        features=replace(config.features, store=str(store), layout="pyramid"),
    )
    if not store.exists():
        extract.extract(extract.prepare(config, overwrite=False), CPU, say=quiet)
    return store


def calibrated(config: Config) -> dict[str, ScoreFigures]:
    """What `dgan calibrate` finds, by the score's name."""
    from pipeline.quality.calibration_file import read_calibration

    run.calibrate(run.prepare(config, CPU, overwrite=False), CPU, memory_budget=None, say=quiet)
    return dict(read_calibration(config.calibrate.out).scores)


def row(name: str, annotated: ScoreFigures, fresh: ScoreFigures, gained: float) -> list[str]:
    """A score's line of the table."""
    by_share = {point.keep: point.quality for point in fresh.curve}
    return [
        name if fresh.usable else f"({name})",
        "none" if annotated.spearman is None else f"{annotated.spearman:.3f}",
        "none" if fresh.spearman is None else f"{fresh.spearman:.3f}",
        f"{annotated.mean_gain:+.4f}",
        f"{fresh.mean_gain:+.4f}",
        *(f"{by_share[share]:.4f}" for share in SHARES),
        annotated.recommended_keep.text,
        f"{gained:+.4f}",
        fresh.recommended_keep.text,
    ]


def one_seed(folder: Path, options: argparse.Namespace, seed: int) -> list[list[str]]:
    """The lines of one seed."""
    annotated = extracted(folder / f"annotated_{seed}", options.images, seed)
    store = extracted(folder / f"fresh_{seed}", options.num, FRESH_SEED + seed)
    config = Config()
    config = replace(
        config,
        features=replace(config.features, store=str(annotated)),
        train=replace(
            config.train,
            seed=seed,
            members=options.members,
            steps=options.steps,
            out=folder / f"interpreter_{seed}",
        ),
        calibrate=replace(config.calibrate, folds=options.folds, out=folder / f"calibration_{seed}.json"),
    )
    interpreter = train.train(annotated, config.train, report=quiet)
    fresh_store = fstore.open(store)
    assert isinstance(fresh_store, fstore.FeatureStore)
    predicted = cache(Predictor(fresh_store, interpreter.ensemble, CPU).predict)
    measured = measure(fresh_store, range(len(fresh_store)), predicted)
    fresh = score_figures(measured)
    found = calibrated(config)
    rows = []
    for name, figures in fresh.items():
        keep = found[name].recommended_keep.text
        (point,) = kept_curve(measured.uncertainty[name], measured.parts, (keep,))
        rows.append(row(name, found[name], figures, point.gain))
    return rows


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.uncertainty", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--images", type=int, default=16, help="annotated")
    parser.add_argument("--num", type=int, default=400, help="fresh images")
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="kept; what is there is not made again")
    parser.add_argument("--quick", action="store_true", help="toy sizes")
    options = parser.parse_args(arguments)
    if options.quick:
        options.seeds, options.images, options.num, options.members, options.steps = [0], 4, 6, 2, 10
        options.folds = 2
    columns = ["score", "rho, annotated", "rho, fresh", "gain, annotated", "gain, fresh"]
    columns += [f"mIoU at {share}" for share in SHARES] + ["keep", "its gain", "keep by fresh"]
    with working_folder(options.folder) as folder:
        for seed in options.seeds:
            title = f"seed {seed}: {options.images} annotated in {options.folds} folds, {options.num} fresh"
            print_table(f"{title}; {machine()}", columns, one_seed(folder, options, seed))


if __name__ == "__main__":
    main()
