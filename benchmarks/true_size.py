"""Looking at and judging what stores of the true size hold, as whole commands: time and peak memory.

    python -m benchmarks.true_size

A StyleGAN1 of 1024 px with random weights, features of 512 x 512 x 5088, 34 classes. The two annotated images
are a pyramid, the first of them is a dense store too. Two members learn for 50 steps: how good they are does
not matter here. The baselines: of memory, a process that imports what extraction imports; of
`dgan evaluate`, a loop that reads every feature (of a pyramid every map) of the store with `fstore`, and does
nothing with them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.face_size import CHECKPOINT, QUICK, Case, extract, make_inputs, official_case
from benchmarks.measure import (
    DGAN,
    ChildRun,
    imports_peak_bytes,
    machine,
    print_table,
    run_child,
    working_folder,
)

READING = """
import sys, fstore
store = fstore.open(sys.argv[1])
for image in range(len(store)):
    if store.layout == "pyramid":
        store.native_maps(image)
    else:
        for row in range(0, store.shape[1], 16):
            store.features[image, row : row + 16].compute(scheduler="sync")
"""
STEPS, MEMBERS = 50, 2


def commands(num: int) -> Iterator[tuple[str, list[str]]]:
    """What is measured after extraction, in this order: its name in the table, and the command."""

    def dgan(*words: str) -> tuple[str, list[str]]:
        return f"dgan {' '.join(words)}", [*DGAN, *words]

    train = ["train", "--store", "pyramid.zarr", "--members", f"{MEMBERS}", "--steps", f"{STEPS}"]
    make = ["synthesize", "--checkpoint", CHECKPOINT, "--num", f"{num}", "--precision", "float32"]
    yield f"dgan train, {MEMBERS} members, {STEPS} steps", [*DGAN, *train, "--device", "cpu"]
    yield f"dgan synthesize, {num} images", [*DGAN, *make, "--device", "cpu"]
    for path in ("pyramid.zarr", "dataset.zarr", "interpreter"):
        yield dgan("report", path)
    for store in ("pyramid.zarr", "one/dense.zarr"):
        yield f"reading {store}", [sys.executable, "-c", READING, store]
        yield dgan("evaluate", "interpreter", "--store", store)
    yield dgan("filter", "dataset.zarr", "--keep", "0.5", "--keep-per-class")
    yield dgan("filter", "dataset.zarr", "--keep", "0.5", "--score", "interior")


def measured(case: Case, folder: Path, num: int) -> Iterator[tuple[str, ChildRun]]:
    """Make the inputs, and run everything once."""
    for name, num_annotated in (".", 2), ("one", 1):
        make_inputs(case, folder / name, num_annotated)
    yield "dgan extract-features, pyramid, 2 images", extract(case, folder, "pyramid")
    yield "dgan extract-features, dense, 1 image", extract(case, folder / "one", "dense")
    for name, command in commands(num):
        yield name, run_child(command, folder)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--num", type=int, default=4, help="images that are synthesized")
    parser.add_argument("--folder", type=Path, help="where the stores are made, and stay")
    parser.add_argument("--quick", action="store_true", help="toy sizes")
    options = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", f"{os.cpu_count() or 1}")
    case = QUICK if options.quick else official_case("face")
    print(machine())
    imports = imports_peak_bytes()
    with working_folder(options.folder) as folder:
        rows = [
            [name, f"{run.seconds:.1f}", f"{run.peak_bytes / 2**20:,.0f}"]
            for name, run in measured(case, folder, options.num)
        ]
    print_table(
        f"{case.side} px, features at {case.resolution} px; imports alone {imports / 2**20:,.0f} MiB",
        ["whole command", "s", "peak MiB"],
        rows,
    )


if __name__ == "__main__":
    main()
