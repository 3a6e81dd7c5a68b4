"""The released procedure beside this pipeline, on the demo: mean IoU on fresh latents, time, peak memory.

    python -m benchmarks.released_procedure

*Released* is `benchmarks.released`; *dgan* is the three commands with the embedded demo configuration. Both
see the same 16 latents with exact masks and the same constant noise, and both label the same fresh latents,
whose exact masks are known. Each runs in processes of its own; of *dgan* the times include starting them.
*As many pixels*: `dgan train` on all images for as many batches as the released rule took, no more.
*Agreement*: the share of pixels that the trained interpreter labels alike in bfloat16 and in float32, where
the processor has bfloat16: elsewhere `dgan` does not choose it, and to compare takes a minute.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.measure import (
    DGAN,
    ROOT,
    add_to_summary,
    machine,
    precisions,
    print_table,
    run_child,
    working_folder,
)
from benchmarks.released import FRESH_SEED, add_arguments

AGREEMENT_IMAGES = 40
DEMO_CONFIG = ROOT / "configs" / "demo.toml"


@dataclass(frozen=True)
class Outcome:
    """One run of one procedure: labels (num, 64, 64), seconds of each part, its processes' largest peak."""

    labels: np.ndarray
    features_seconds: float
    train_seconds: float
    label_seconds: float
    peak_bytes: int
    note: str
    mean_steps: float
    """Batches of 64 pixels that a member learnt from, the mean over members."""


def released(folder: Path, options: argparse.Namespace, seed: int) -> Outcome:
    """The released procedure in a child."""
    out = folder / f"released_{seed}.npy"
    settings = {name: str(getattr(options, name)) for name in ("members", "num", "images", "max_epochs")}
    flags = [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", value)]
    run = run_child([sys.executable, "-m", "benchmarks.released", str(out), "--seed", str(seed), *flags])
    record = json.loads(out.with_suffix(".json").read_text())
    steps = f"{min(record['steps'])} to {max(record['steps'])} steps a member"
    times = (record["features"], record["train"], record["label"])
    mean_steps = sum(record["steps"]) / len(record["steps"])
    return Outcome(np.load(out), *times, run.peak_bytes, steps, mean_steps)


def pipeline_outcome(
    folder: Path, options: argparse.Namespace, seed: int, steps: int | None = None
) -> Outcome:
    """``dgan extract-features``, ``train`` and ``synthesize`` in children, each with its imports counted.

    ``steps``: train for so many on all images, in place of `dgan`'s own rule.
    """
    import fstore
    from pipeline.embedded import write_inputs

    here = folder / f"dgan_{seed}_{steps}"
    here.mkdir()
    write_inputs(here, options.images)
    inputs = ["--latents", "latents.npy", "--annotations", "masks"]
    if steps is not None:  # else the embedded configuration is found
        (here / "dgan.toml").write_text(DEMO_CONFIG.read_text() + "\n[train]\nheld_out = 0.0\n")
    runs = [run_child([*DGAN, "extract-features", *inputs], here)]
    train = ["train", "--members", str(options.members), "--seed", str(seed)]
    steps = 40 if options.quick else steps
    runs.append(run_child([*DGAN, *train, *([] if steps is None else ["--steps", str(steps)])], here))
    label = ["synthesize", "--num", str(options.num), "--seed", str(FRESH_SEED)]
    runs.append(run_child([*DGAN, *label], here))
    labels = np.asarray(fstore.open(here / "dataset.zarr").labels)  # type: ignore[union-attr]
    features, trained, labelled = (run.seconds for run in runs)
    info = json.loads((here / "interpreter" / "interpreter.json").read_text())
    best = info["epochs"][info["best_epoch"] or 0]
    note = f"{info['epochs'][-1]['steps']} steps a member, best after {best['steps']}"
    if "bfloat16" in precisions("cpu"):
        note += f", agreement {precision_agreement(here, min(options.num, AGREEMENT_IMAGES)):.4%}"
    peak = max(run.peak_bytes for run in runs)
    return Outcome(labels, features, trained, labelled, peak, note, info["epochs"][-1]["steps"])


def precision_agreement(folder: Path, num: int) -> float:
    """The share of pixels that bfloat16 and float32 products label alike, by a folder's interpreter."""
    import torch

    from pipeline.embedded import checkpoint_path
    from pipeline.settings.files import Config, with_overrides
    from pipeline.stages.synthesize.job import make_source
    from pipeline.stages.synthesize.stage import prepare

    config = with_overrides(Config(), "generator", checkpoint=checkpoint_path())
    job = prepare(with_overrides(config, "synthesize", interpreter=folder / "interpreter"))
    source = make_source(job, torch.device("cpu"), torch.float32)
    return source.agreement(range(num), torch.bfloat16, batch_size=job.config.render_batch)


def class_ious(truth: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """(K,) intersection over union of each class, NaN where it is in neither."""
    cells = np.bincount(
        truth.ravel().astype(np.int64) * num_classes + labels.ravel(), minlength=num_classes**2
    )
    matrix = cells.reshape(num_classes, num_classes).astype(float)  # [truth, predicted]
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    return np.divide(matrix.diagonal(), union, out=np.full(num_classes, np.nan), where=union > 0)


def mean_ious(runs: list[Outcome], truth: np.ndarray, num_classes: int) -> np.ndarray:
    """Each run's mean IoU over the classes."""
    return np.array([np.nanmean(class_ious(truth, run.labels, num_classes)) for run in runs])


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
    means = {name: float(np.mean(mean_ious(runs, truth, len(names)))) for name, runs in outcomes.items()}
    add_to_summary(
        "mIoU on the demo's exact masks, the same number of pixels learnt from",
        f"{means['dgan, as many pixels']:.4f}; by its own rule {means['dgan']:.4f}",
        f"{means['released']:.4f} (R)",
        f"{means['dgan, as many pixels'] - means['released']:+.4f}",
    )
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
        outcomes: dict[str, list[Outcome]] = {"released": [], "dgan": [], "dgan, as many pixels": []}
        for seed in range(options.seeds):
            outcomes["released"].append(released(folder, options, seed))
            outcomes["dgan"].append(pipeline_outcome(folder, options, seed))
            steps = round(outcomes["released"][-1].mean_steps)
            outcomes["dgan, as many pixels"].append(pipeline_outcome(folder, options, seed, steps))
    from pipeline.embedded import class_names, exact_masks
    from pipeline.machine.random_streams import Purpose
    from pipeline.rendering.latents import seeded_latents

    report(
        outcomes,
        exact_masks(seeded_latents(Purpose.DATASET_LATENTS, FRESH_SEED, range(options.num), 64)),
        class_names(),
    )


if __name__ == "__main__":
    main()
