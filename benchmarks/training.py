"""Training steps a second, fed by the sampler from disk or memory, beside the released procedure.

    python -m benchmarks.training

Features of a random-weight generator at the true size, 34 classes, members of 256/128. *Released* is one
member at a time on batches of 64 single pixels from a DataLoader, all features in RAM as float16 and once
more as float32 (the loop of `benchmarks.released`). They do not fit 16 images, nor one with ease: it gets the
pixels of a quarter image, which changes nothing for a step. *dgan* is `Learner.step` on one epoch of the
sampler that `dgan train` makes, reading included, from files in the page cache or from the pyramid in memory.
A *pixel x member* is one pixel that one member has learnt from. *Axes* are ways with `--subspace`, whose
number is printed: random weights spread their energy over far more of them than trained ones do, so that a
part of it is asked for that leaves the number of a trained generator's, not one that it would be set to.
The pass that finds the axes is not in these rates; it is in `benchmarks.face_training`.

Every run is a process of its own; the procedures take turns, and the ratios are those of one turn. The last
table is the command `dgan train`, whole: its peak is what a user sees.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median

from benchmarks import face_size
from benchmarks.measure import (
    DGAN,
    ChildRun,
    add_to_summary,
    machine,
    precisions,
    print_table,
    run_child,
    working_folder,
)
from benchmarks.released import BATCH_SIZE, PixelDataset, classifier
from benchmarks.sampler import LAYOUTS, make_stores, open_store

MEMBERS = 10
PEAK_LIMIT = 3 * 2**30
WARM_STEPS = 10  # of the released loop, not timed; dgan's first batch is counted like all others
WAYS = {  # name -> layout, precision, batch size, subspace
    "dense, float32, batch 64": ("dense", "float32", 64, "off"),
    "dense, float32, batch 256": ("dense", "float32", 256, "off"),
    "dense, bfloat16, batch 64": ("dense", "bfloat16", 64, "off"),
    "dense, bfloat16, batch 256": ("dense", "bfloat16", 256, "off"),
    "pyramid in memory, bfloat16, batch 64": ("pyramid", "bfloat16", 64, "off"),
    "pyramid in memory, bfloat16, batch 256": ("pyramid", "bfloat16", 256, "off"),
    **{
        f"{axes} axes, {precision}, batch {size}": ("pyramid", precision, size, energy)
        for axes, energy in (("fewer", "0.9"), ("more", "0.98"))
        for precision in ("float32", "bfloat16")
        for size in (64, 256)
    },
}


def ways(device: str) -> dict[str, tuple[str, str, int, str]]:
    """``WAYS`` of a device: without hardware for bfloat16 all are in float32."""
    if "bfloat16" in precisions(device):
        return WAYS
    return {
        name.replace("bfloat16", "float32"): (layout, "float32", size, subspace)
        for name, (layout, _, size, subspace) in WAYS.items()
    }


def released_rate(folder: Path, device: str, num_pixels: int, steps: int) -> float:
    """Pixels a second of the released loop: one member, so pixels x members too."""
    import numpy as np
    import torch
    from torch.nn.functional import cross_entropy
    from torch.utils.data import DataLoader

    from fstore.format import bands

    store = open_store(folder, "dense")
    _, height, width, channels = store.shape
    in_ram = np.empty((num_pixels, channels), np.float16)
    rows = -(-num_pixels // width)
    for first, last in bands(min(rows, height)):
        band = store.features[0, first:last].compute(scheduler="sync").reshape(-1, channels)
        in_ram[first * width : last * width] = band[: num_pixels - first * width]
    features = torch.from_numpy(in_ram.astype(np.float32))  # the second copy, kept beside the first
    labels = torch.from_numpy(store.read_masks([0]).reshape(-1)[:num_pixels].astype(np.int64))
    loader = DataLoader(PixelDataset(features, labels), batch_size=BATCH_SIZE, shuffle=True)  # type: ignore[arg-type, var-annotated]
    member = classifier(channels, len(store.meta.classes)).to(device).train()
    adam = torch.optim.Adam(member.parameters(), lr=1e-3)
    start = 0.0
    for step, (x, y) in enumerate(islice(_endless(loader), WARM_STEPS + steps)):
        if step == WARM_STEPS:
            start = _now(device)
        adam.zero_grad()
        loss = cross_entropy(member(x.to(device)), y.to(device))
        loss.backward()
        adam.step()
    return steps * BATCH_SIZE / (_now(device) - start)


def dgan_rate(folder: Path, device: str, way: str, draws: int) -> tuple[float, int]:
    """Pixels x members a second of one epoch of ``draws`` pixels a member, and the axes, or 0."""
    import torch

    from pipeline.settings.schema import TrainConfig
    from pipeline.stages.train.making import make_learner
    from pipeline.stages.train.pixels import open_pixels
    from pipeline.stages.train.prepare import describe, plan_train
    from pipeline.stages.train.sampling import make_sampler, plan_memory

    layout, precision, batch_size, subspace = ways(device)[way]
    target = torch.device(device)
    store = open_store(folder, layout)
    config = TrainConfig(
        members=MEMBERS, batch_size=batch_size, epoch_pixels=draws, precision=precision, subspace=subspace
    )
    plan = plan_train(store, config)
    memory = plan_memory(plan, target, None)
    pixels = open_pixels(store, plan, memory, target, folder)
    learner = make_learner(store, plan, describe(store, plan).seeds, target, pixels.subspace)
    start, done = _now(device), 0
    for batch in make_sampler(pixels.source, plan.config, tuple(range(len(store))), memory).epoch(0):
        learner.step(batch)
        done += batch.labels.size
    axes = pixels.subspace.channels if pixels.subspace else 0
    return done / (_now(device) - start), axes


def _endless(loader: Iterable[tuple]) -> Iterator[tuple]:
    while True:
        yield from loader


def _now(device: str) -> float:
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()
    return time.perf_counter()


def in_child(folder: Path, options: argparse.Namespace, way: str) -> tuple[float, int, int]:
    """Rate, peak bytes and axes of one way in a process of its own."""
    flags = ["--folder", str(folder), "--way", way, "--device", options.device]
    sizes = ["--draws", str(options.draws), "--steps", str(options.steps), "--pixels", str(options.pixels)]
    run = run_child([sys.executable, "-m", "benchmarks.training", *flags, *sizes])
    found = json.loads(run.output.splitlines()[-1])
    return found["rate"], run.peak_bytes, found["axes"]


def measure_steps(folder: Path, options: argparse.Namespace) -> None:
    """The table of rates."""
    names = ["released", *ways(options.device)]
    runs: dict[str, list[tuple[float, int, int]]] = {name: [] for name in names}
    for turn in range(options.repeats):
        for name in names if turn % 2 == 0 else reversed(names):
            runs[name].append(in_child(folder, options, name))
    rows = []
    for name in names:
        rates, axes = [run[0] for run in runs[name]], runs[name][0][2]
        ratio = median(rate / base[0] for rate, base in zip(rates, runs["released"], strict=True))
        spread = f"{min(rates):,.0f} to {max(rates):,.0f}"
        peak = f"{max(run[1] for run in runs[name]) / 1e6:,.0f}"
        shown = " ".join([f"{axes:,}", *name.split()[1:]]) if axes else name
        rows.append([shown, f"{median(rates):,.0f}", spread, f"{ratio:.1f}", peak])
    typical = {name: median(run[0] for run in runs[name]) for name in names}
    precision = precisions(options.device)[0]
    small, large = (typical[f"dense, {precision}, batch {size}"] for size in (64, 256))
    base = typical["released"]
    add_to_summary(
        f"train, pixels x members a second, {MEMBERS} x 5,088 channels, {options.device}, {precision}",
        f"{small:,.0f} batch 64, {large:,.0f} batch 256",
        f"{base:,.0f} (R)",
        f"{small / base:.1f}x and {large / base:.1f}x",
    )
    on_axes = [f"more axes, float32, batch {size}" for size in (64, 256)]
    small, large = (typical[name] for name in on_axes)
    add_to_summary(
        f"the same on {runs[on_axes[0]][0][2]:,} principal axes, float32",
        f"{small:,.0f} batch 64, {large:,.0f} batch 256",
        f"{base:,.0f} (R)",
        f"{small / base:.1f}x and {large / base:.1f}x",
    )
    columns = ["procedure", "pixels x members/s", "range", "ratio to released", "peak MB"]
    shape = " x ".join(map(str, open_store(folder, "dense").shape))
    print_table(f"{shape}, {options.device}; released: batch 64, {options.pixels:,} pixels", columns, rows)


def train_command(folder: Path, options: argparse.Namespace, layout: str) -> ChildRun:
    """``dgan train`` on one store, from nothing."""
    flags = ["--store", f"{layout}.zarr", "--out", f"interpreter-{layout}", "--overwrite"]
    size = ["--steps", str(options.steps), "--members", str(MEMBERS), "--device", options.device]
    return run_child([*DGAN, "train", *flags, *size], folder)


def measure_command(folder: Path, options: argparse.Namespace) -> bool:
    """The table of whole commands; whether their peaks keep to the limit."""
    runs = {layout: train_command(folder, options, layout) for layout in LAYOUTS}
    rows = [[name, f"{run.seconds:.1f}", f"{run.peak_bytes / 1e6:,.0f}"] for name, run in runs.items()]
    print_table(f"dgan train --steps {options.steps}", ["store", "s", "peak MB"], rows)
    return max(run.peak_bytes for run in runs.values()) < PEAK_LIMIT


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Training beside the released procedure.")
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--draws", type=int, default=16384, help="pixels of each member in a timed epoch")
    parser.add_argument("--steps", type=int, default=256, help="of the released loop, and of the command")
    parser.add_argument("--pixels", type=int, default=65536, help="that the released loop holds in RAM")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:i")
    parser.add_argument("--folder", type=Path, help="work here, and use the stores that are there")
    parser.add_argument("--rates", action="store_true", help="no whole commands")
    parser.add_argument("--way", help=argparse.SUPPRESS)  # one run, in a child of this program
    parser.add_argument("--quick", action="store_true", help="toy features, one run")
    options = parser.parse_args(arguments)
    if options.quick:
        options.draws, options.steps, options.pixels, options.repeats = 512, 8, 1024, 1
    case = face_size.QUICK if options.quick else face_size.official_case("face")
    if options.way:
        from pipeline.machine.device import select_device

        device = str(select_device(options.device))
        if options.way == "released":
            rate, axes = released_rate(options.folder, device, options.pixels, options.steps), 0
        else:
            rate, axes = dgan_rate(options.folder, device, options.way, options.draws)
        print(json.dumps({"rate": rate, "axes": axes}))
        return
    print(machine())
    with working_folder(options.folder) as folder:
        make_stores(case, folder, options.images)
        measure_steps(folder, options)
        held = options.rates or measure_command(folder, options)
    if not held:
        sys.exit(f"dgan train passed its limit of {PEAK_LIMIT / 2**30:.0f} GiB")


if __name__ == "__main__":
    if "released" not in sys.argv:  # which runs as it would without this project
        import pipeline.cli  # noqa: F401  # sets how threads wait, before torch is imported, as `dgan` does
    main()
