"""What learning on principal axes costs and saves, on the demo: axes, seconds of ``dgan train``, mIoU.

    python -m benchmarks.subspace

The demo's 16 annotated images as a pyramid, 896 channels. The first table says how many axes hold which part
of the energy, by resolution. Then ``dgan train`` runs with each ``--subspace``, the same steps and seeds, in
a process of its own, and its interpreter labels fresh images, whose exact masks the demo's renderer knows.
It trains on all images (``held_out = 0``), since which epoch was best on two of them is much of chance.
Ratios are those of one turn.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean, median

from benchmarks.measure import DGAN, ROOT, add_to_summary, machine, print_table, run_child, working_folder

ENERGIES = (0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999, 1.0)
DEMO_CONFIG = ROOT / "configs" / "demo.toml"
WAYS = ("off", "0.98", "0.99", "0.995", "0.999")
CHOSEN = "0.995"
STORE = "features-pyramid.zarr"


def axes_table(folder: Path) -> None:
    """Axes by resolution and energy."""
    import fstore
    from pipeline.stages.train.subspace import find_subspace

    store = fstore.open(folder / "demo" / STORE)
    assert isinstance(store, fstore.FeatureStore)
    maps = [store.native_maps(image) for image in range(len(store))]
    found = [find_subspace(store.meta, maps, energy) for energy in ENERGIES]
    rows = [
        [f"{run[0].resolution[0]} px", sum(layer.channels for layer in run)]
        + [each.bases[place].shape[1] for each in found]
        for place, run in enumerate(found[0].runs)
    ]
    rows.append(["all", store.meta.channels, *(each.channels for each in found)])
    columns = ["layers of", "channels", *(f"{100 * energy:g}%" for energy in ENERGIES)]
    print_table(f"axes that hold a part of the energy, {len(store)} images", columns, rows)


def train(folder: Path, way: str, seed: int, options: argparse.Namespace) -> tuple[float, float]:
    """Seconds of ``dgan train``, and the mIoU of its labels against exact masks."""
    from pipeline.demo.run import measure

    out, store = f"interpreter-{way}-{seed}", folder / f"dataset-{way}-{seed}.zarr"
    size = ["--steps", str(options.steps), "--members", str(options.members), "--seed", str(seed)]
    same = ["--threads", str(options.threads), "--overwrite"]
    inputs = ["--store", f"demo/{STORE}", "--out", out, "--subspace", way]
    run = run_child([*DGAN, "train", *inputs, *size, *same], folder)
    labels = ["--interpreter", out, "--store", store.name, "--num", str(options.num)]
    run_child([*DGAN, "synthesize", *labels, *same], folder)
    return run.seconds, measure(str(store)).everything


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Learning on principal axes, on the demo.")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--num", type=int, default=64, help="fresh images to label")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="work here, and use the demo that is there")
    parser.add_argument("--quick", action="store_true", help="few steps, one seed")
    options = parser.parse_args(arguments)
    if options.quick:
        options.steps, options.members, options.seeds, options.num = 30, 2, 1, 4
    print(machine())
    with working_folder(options.folder) as folder:
        (folder / "dgan.toml").write_text(DEMO_CONFIG.read_text() + "\n[train]\nheld_out = 0.0\n")
        if not (folder / "demo" / STORE).exists():
            extract = ["extract-features", "--layout", "pyramid", "--store", f"demo/{STORE}"]
            (folder / "demo").mkdir(parents=True, exist_ok=True)
            run_child([*DGAN, *extract], folder)
        axes_table(folder)
        found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for seed in range(options.seeds):
            for way in WAYS if seed % 2 == 0 else reversed(WAYS):
                found[way].append(train(folder, way, seed, options))
        rows = []
        for way, runs in found.items():
            ratio = median(base / ours for (ours, _), (base, _) in zip(runs, found["off"], strict=True))
            seconds, quality = median(run[0] for run in runs), mean(run[1] for run in runs)
            spread = f"{min(run[1] for run in runs):.4f} to {max(run[1] for run in runs):.4f}"
            rows.append([way, f"{seconds:.1f}", f"{ratio:.2f}", f"{quality:.4f}", spread])
            if way == CHOSEN:
                plain = median(run[0] for run in found["off"])
                what = f"train {options.steps} steps on the demo, --subspace {way}"
                add_to_summary(what, f"{seconds:.1f} s", f"{plain:.1f} s (off)", f"{ratio:.2f}x")
        title = f"dgan train --steps {options.steps} --members {options.members} --threads {options.threads}"
        columns = ["--subspace", "s", "off / this", f"mIoU of {options.num} images", "range"]
        print_table(f"{title}, {options.seeds} seeds", columns, rows)


if __name__ == "__main__":
    main()
