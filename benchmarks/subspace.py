"""What learning on principal axes costs and saves, on the demo: axes, seconds of ``dgan train``, mIoU.

    python -m benchmarks.subspace

The demo's 16 annotated images as a pyramid, 896 channels. The first table says how many axes hold which part
of the energy, by resolution. Then ``dgan train`` runs with each ``--subspace``, the same steps and seeds, in
a process of its own, and its interpreter labels fresh images, whose exact masks the demo's renderer knows.
It trains on all images, since which epoch was best on two of them is much of chance; with ``--held-out`` it
holds some out, as ``dgan train`` does by itself. Ratios are those of one turn.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING

from benchmarks.measure import DGAN, ROOT, add_to_summary, machine, print_table, run_child, working_folder

if TYPE_CHECKING:
    from pipeline.stages.train.subspace import PrincipalAxes

ENERGIES = (0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999, 1.0)
DEMO_CONFIG = ROOT / "configs" / "demo.toml"
WAYS = ("off", "0.98", "0.99", "0.995", "0.999")
CHOSEN = "0.999"
STORE = "features-pyramid.zarr"


def axes_table(axes: PrincipalAxes, title: str) -> None:
    """Axes by resolution and energy."""
    found = [axes.kept(energy) for energy in ENERGIES]
    channels = [sum(layer.channels for layer in run) for run in axes.runs]
    rows = [
        [f"{run[0].resolution[0]} px", channels[place], *(each[place] for each in found)]
        for place, run in enumerate(axes.runs)
    ]
    rows.append(["all", sum(channels), *map(sum, found)])
    columns = ["layers of", "channels", *(f"{100 * energy:g}%" for energy in ENERGIES)]
    print_table(title, columns, rows)


def axes_of(path: Path) -> PrincipalAxes:
    """The principal axes of all images of a store."""
    import fstore
    from pipeline.stages.train.subspace import principal_axes

    store = fstore.open(path)
    assert isinstance(store, fstore.FeatureStore)
    return principal_axes(store.meta, (store.recovered_maps(image) for image in range(len(store))))


def plot(named: dict[str, PrincipalAxes], out: Path) -> None:
    """An SVG picture: the part of the energy that is held, by the axes, on a scale of what is not held."""
    import torch

    width, height, left, bottom, top = 640, 380, 70, 330, 20
    powers = range(5)  # 1 to 10**-4

    def place(kept: float, lost: float) -> str:
        down = min(max(-math.log10(max(lost, 1e-9)), 0.0), powers[-1])
        return f"{left + 540 * kept:.1f},{bottom - (bottom - top) * down / powers[-1]:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="13"><rect width="100%" height="100%" fill="white"/>'
    ]
    for power in powers:
        y = bottom - (bottom - top) * power / powers[-1]
        label = f"{100 * (1 - 10.0**-power):g}%"
        parts.append(f'<path d="M{left} {y:.0f}H{left + 540}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.0f}" text-anchor="end">{label}</text>')
    for tenth in range(0, 11, 2):
        x = left + 54 * tenth
        parts.append(f'<text x="{x}" y="{bottom + 18}" text-anchor="middle">{10 * tenth}%</text>')
    parts.append(
        f'<text x="{left + 270}" y="{bottom + 38}" text-anchor="middle">axes kept, of the channels</text>'
    )
    for number, (name, axes) in enumerate(named.items()):
        color = ("#0072b2", "#d55e00", "#009e73")[number % 3]
        channels = sum(layer.channels for run in axes.runs for layer in run)
        energies = torch.cat(axes.energies).sort(descending=True).values
        lost = 1 - energies.cumsum(0) / energies.sum()
        step = max(1, len(lost) // 300)
        points = " ".join(place((k + 1) / channels, float(lost[k])) for k in range(0, len(lost) - 1, step))
        parts.append(f'<polyline fill="none" stroke="{color}" stroke-width="2" points="{points}"/>')
        y = bottom - 30 + 20 * number
        parts.append(f'<text x="{left + 530}" y="{y}" fill="{color}" text-anchor="end">{name}</text>')
    out.write_text("\n".join([*parts, "</svg>\n"]))


def prepare(folder: Path, **training: float) -> None:
    """A folder with the features and the settings of the demo, and these of training."""
    lines = [f"{name} = {value}" for name, value in training.items()]
    (folder / "dgan.toml").write_text("\n".join([DEMO_CONFIG.read_text(), "[train]", *lines, ""]))
    if not (folder / "demo" / STORE).exists():
        extract = ["extract-features", "--layout", "pyramid", "--store", f"demo/{STORE}"]
        (folder / "demo").mkdir(parents=True, exist_ok=True)
        run_child([*DGAN, *extract], folder)


def train(folder: Path, way: list[str], seed: int, options: argparse.Namespace) -> tuple[float, float]:
    """Seconds of ``dgan train`` with the words of a way, and the mIoU of its labels against exact masks."""
    from pipeline.demo.run import measure

    out, store = "interpreter", folder / "dataset.zarr"
    size = ["--steps", str(options.steps), "--members", str(options.members), "--seed", str(seed)]
    same = ["--threads", str(options.threads), "--overwrite"]
    run = run_child([*DGAN, "train", "--store", f"demo/{STORE}", "--out", out, *way, *size, *same], folder)
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
    parser.add_argument("--held-out", type=float, default=0.0, help="the part of the images that is held out")
    parser.add_argument("--ways", default=",".join(WAYS), help="with which --subspace, off among them")
    parser.add_argument("--folder", type=Path, help="work here, and use the demo that is there")
    parser.add_argument("--store", action="append", default=[], metavar="NAME=PATH", help="also its axes")
    parser.add_argument("--plot", type=Path, help="an SVG file to write: energy by axes")
    parser.add_argument("--quick", action="store_true", help="few steps, one seed")
    options = parser.parse_args(arguments)
    if options.quick:
        options.steps, options.members, options.seeds, options.num = 30, 2, 1, 4
    ways = options.ways.split(",")
    print(machine())
    with working_folder(options.folder) as folder:
        prepare(folder, held_out=options.held_out)
        axes = axes_of(folder / "demo" / STORE)
        axes_table(axes, "axes that hold a part of the energy, the demo's 16 images")
        others = {name: axes_of(Path(path)) for name, path in (each.split("=", 1) for each in options.store)}
        for name, found_axes in others.items():
            axes_table(found_axes, name)
        if options.plot:
            plot({"the demo, 896 channels, trained": axes, **others}, options.plot)
        found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for seed in range(options.seeds):
            for way in ways if seed % 2 == 0 else reversed(ways):
                found[way].append(train(folder, ["--subspace", way], seed, options))
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
        title += f", {options.held_out:g} of the images held out"
        columns = ["--subspace", "s", "off / this", f"mIoU of {options.num} images", "range"]
        print_table(f"{title}, {options.seeds} seeds", columns, rows)


if __name__ == "__main__":
    main()
