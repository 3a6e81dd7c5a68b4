"""The released procedure beside this pipeline, on the demo: mean IoU on fresh latents, time, peak memory.

    python -m benchmarks.released_procedure

*Released* is `benchmarks.released`; *dgan* is the three commands with the embedded demo configuration. Both
see the same 16 latents with exact masks and the same constant noise, and both label the same fresh latents,
whose exact masks are known. Each runs in processes of its own; of *dgan* the times include starting them.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.measure import DGAN, machine, print_table, run_child, working_folder
from benchmarks.released import FRESH_SEED, add_arguments


@dataclass(frozen=True)
class Outcome:
    """One run of one procedure: labels (num, 64, 64), seconds of each part, its processes' largest peak."""

    labels: np.ndarray
    features_seconds: float
    train_seconds: float
    label_seconds: float
    peak_bytes: int
    note: str


def released(folder: Path, options: argparse.Namespace, seed: int) -> Outcome:
    """The released procedure in a child."""
    out = folder / f"released_{seed}.npy"
    settings = {name: str(getattr(options, name)) for name in ("members", "num", "images", "max_epochs")}
    flags = [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", value)]
    run = run_child([sys.executable, "-m", "benchmarks.released", str(out), "--seed", str(seed), *flags])
    record = json.loads(out.with_suffix(".json").read_text())
    steps = f"{min(record['steps'])} to {max(record['steps'])} steps a member"
    return Outcome(np.load(out), record["features"], record["train"], record["label"], run.peak_bytes, steps)


def pipeline_outcome(folder: Path, options: argparse.Namespace, seed: int) -> Outcome:
    """``dgan extract-features``, ``train`` and ``synthesize`` in children, each with its imports counted."""
    import fstore
    from pipeline.demo import write_inputs

    here = folder / f"dgan_{seed}"
    here.mkdir()
    write_inputs(here, options.images)
    inputs = ["--latents", "latents.npy", "--annotations", "masks"]
    runs = [run_child([*DGAN, "extract-features", *inputs], here)]
    train = ["train", "--members", str(options.members), "--seed", str(seed)]
    runs.append(run_child([*DGAN, *train, *(["--steps", "40"] if options.quick else [])], here))
    label = ["synthesize", "--num", str(options.num), "--seed", str(FRESH_SEED)]
    runs.append(run_child([*DGAN, *label], here))
    labels = np.asarray(fstore.open(here / "dataset.zarr").labels)  # type: ignore[union-attr]
    features, trained, labelled = (run.seconds for run in runs)
    info = json.loads((here / "interpreter" / "interpreter.json").read_text())
    best = info["epochs"][info["best_epoch"] or 0]
    note = f"{info['epochs'][-1]['steps']} steps a member, best after {best['steps']}"
    return Outcome(labels, features, trained, labelled, max(run.peak_bytes for run in runs), note)


def class_ious(truth: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """(K,) intersection over union of each class, NaN where it is in neither."""
    cells = np.bincount(
        truth.ravel().astype(np.int64) * num_classes + labels.ravel(), minlength=num_classes**2
    )
    matrix = cells.reshape(num_classes, num_classes).astype(float)  # [truth, predicted]
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    return np.divide(matrix.diagonal(), union, out=np.full(num_classes, np.nan), where=union > 0)


def report(outcomes: dict[str, list[Outcome]], truth: np.ndarray, names: tuple[str, ...]) -> None:
    """Two tables: each procedure's runs, and the classes."""
    rows, ious = [], {}
    for name, runs in outcomes.items():
        of_runs = np.array([class_ious(truth, run.labels, len(names)) for run in runs])  # [runs, K]
        ious[name] = of_runs.mean(0)
        times = [f"{median(values):.1f}" for values in zip(*[_times(run) for run in runs], strict=True)]
        peak = f"{max(run.peak_bytes for run in runs) / 1e6:.0f}"
        means = np.nanmean(of_runs, 1)
        rows.append([name, f"{means.mean():.4f}", " ".join(f"{value:.4f}" for value in means), *times, peak])
        print(f"{name}: {'; '.join(run.note for run in runs)}")
    columns = ["procedure", "mIoU", "of each seed", "features s", "train s", "label s", "peak MB"]
    print_table(f"{len(truth)} fresh latents against exact masks, {len(names)} classes", columns, rows)
    table = [[name, *(f"{ious[procedure][k]:.4f}" for procedure in outcomes)] for k, name in enumerate(names)]
    print_table("IoU of each class, mean over seeds", ["class", *outcomes], table)


def _times(run: Outcome) -> tuple[float, float, float]:
    return run.features_seconds, run.train_seconds, run.label_seconds


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="The released training procedure beside dgan, on the demo.")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each procedure, seeds 0, 1, ...")
    add_arguments(parser)
    parser.add_argument("--quick", action="store_true", help="two members, three images, one epoch")
    options = parser.parse_args(arguments)
    if options.quick:
        options.members, options.num, options.images, options.max_epochs = 2, 4, 3, 1
    print(machine())
    with working_folder(None) as folder:
        outcomes = {
            name: [run(folder, options, seed) for seed in range(options.seeds)]
            for name, run in (("released", released), ("dgan", pipeline_outcome))
        }
    from pipeline.demo import class_names, exact_masks
    from pipeline.latents import seeded_latents

    report(outcomes, exact_masks(seeded_latents(FRESH_SEED, range(options.num), 64)), class_names())


if __name__ == "__main__":
    main()
