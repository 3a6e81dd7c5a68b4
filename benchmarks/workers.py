"""Two worker processes beside one, and one worker beside a single process: time, and peak memory of each.

    python -m benchmarks.workers

Each stage runs as a command, alternating: one process, one worker, one worker on one core, two workers, all
with ``--threads 1``. That is the number of threads inside an operation; a worker renders, compresses, reads
and writes at the same time, so that only on one core it is limited to one thread. Synthesis, training and
export are those of the demo; extraction and *train-face* are of made inputs, at the released size of faces,
on the axes of random weights that are as many as a trained generator may have. Times include starting up and
ending. *Two* is the time of one worker on one core over that of two workers in the same round, *worker* the
peak of the largest worker over that of the single process; both are medians over the rounds.
Peaks are the kernel's marks of resident memory, read from outside while the processes run. The scheduler is
part of the client's process.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.face_size import CHECKPOINT, QUICK, Case, make_inputs, official_case
from benchmarks.measure import (
    DGAN,
    PINNED_DGAN,
    ChildRun,
    add_to_summary,
    machine,
    print_table,
    run_child,
    working_folder,
)

WAYS = {
    "one process": (),
    "1 worker": ("--workers", "1"),
    "1 worker, 1 core": ("--workers", "1"),
    "2 workers": ("--workers", "2"),
}
WORKER = "pipeline.cluster.local_worker"
"""By which the command line of a worker is known."""
OUT = "out"
STORE, FACE_STORE, INTERPRETER, DATASET = "features.zarr", "face.zarr", "interpreter", "dataset.zarr"


@dataclass(frozen=True)
class Sizes:
    """How much each stage does."""

    case: Case
    images: int
    """Of extraction."""
    steps: int
    num: int
    """Of synthesis, and of the dataset that is exported."""


def stages(sizes: Sizes) -> dict[str, list[str]]:
    """The words of each stage's command, which writes ``OUT``, in their order."""
    steps = ["--steps", str(sizes.steps), "--out", OUT]
    return {
        "extract-features": extract_words(sizes.case, OUT),
        "train": ["train", "--store", STORE, *steps],
        "train-face": ["train", "--store", FACE_STORE, "--subspace", "0.9", *steps],
        "synthesize": ["synthesize", "--interpreter", INTERPRETER, "--num", str(sizes.num), "--store", OUT],
        "export": ["export", DATASET, OUT, "--format", "coco"],
    }


def extract_words(case: Case, store: str) -> list[str]:
    """Extraction of the made inputs."""
    inputs = ["--checkpoint", CHECKPOINT, "--latents", "latents.npy", "--annotations", "masks"]
    size = ["--resolution", str(case.resolution), "--layout", "pyramid"]
    crop = ["--crop-rows", case.crop_rows] if case.crop_rows else []
    return ["extract-features", *inputs, *size, *crop, "--store", store]


def prepare(folder: Path, sizes: Sizes) -> None:
    """What the stages read."""
    make_inputs(sizes.case, folder, sizes.images)
    for words in (
        extract_words(sizes.case, FACE_STORE),
        ["extract-features", "--layout", "pyramid", "--store", STORE],
        ["train", "--store", STORE, "--steps", "200", "--out", INTERPRETER],
        ["synthesize", "--interpreter", INTERPRETER, "--num", str(sizes.num), "--store", DATASET],
    ):
        run_child([*DGAN, *words, "--device", "cpu", "--overwrite"], folder)


def run_way(words: list[str], way: str, folder: Path) -> ChildRun:
    """One run of a stage, which begins anew."""
    out = folder / OUT
    if out.is_dir():
        shutil.rmtree(out)
    device = [] if words[0] == "export" else ["--device", "cpu"]
    program = PINNED_DGAN if "1 core" in way else DGAN
    return run_child([*program, *words, *device, "--threads", "1", *WAYS[way]], folder, children=WORKER)


def row(stage: str, runs: dict[str, list[ChildRun]]) -> list[str]:
    """A line of the table, and of the last table of `python -m benchmarks`."""
    seconds = {way: median(run.seconds for run in found) for way, found in runs.items()}
    alone, two = runs["one process"], runs["2 workers"]
    gain = median(a.seconds / b.seconds for a, b in zip(runs["1 worker, 1 core"], two, strict=True))
    workers = [max(run.child_peaks, default=0) for run in two]
    ratio = median(worker / run.peak_bytes for worker, run in zip(workers, alone, strict=True))
    add_to_summary(
        f"{stage}, 2 workers",
        f"{seconds['2 workers']:.1f} s",
        f"1 worker, 1 core {seconds['1 worker, 1 core']:.1f} s",
        f"{gain:.2f}",
    )
    return [
        stage,
        *(f"{value:.1f} s" for value in seconds.values()),
        f"{gain:.2f}",
        megabytes([run.peak_bytes for run in alone]),
        megabytes(workers),
        f"{ratio:.2f}",
        megabytes([run.peak_bytes for run in two]),
    ]


def megabytes(sizes: list[int]) -> str:
    """Their median, in units of 10**6 bytes."""
    return f"{median(sizes) / 1e6:.0f} MB"


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Time and memory of worker processes.")
    parser.add_argument("--rounds", type=int, default=3, help="of each stage: every way once")
    parser.add_argument("--images", type=int, default=8, help="of extraction")
    parser.add_argument("--steps", type=int, default=2000, help="of training")
    parser.add_argument("--num", type=int, default=512, help="images to synthesize and to export")
    parser.add_argument("--stage", choices=list(stages(Sizes(QUICK, 1, 1, 1))), action="append")
    parser.add_argument("--out", type=Path, help="working folder, kept; by itself a temporary one")
    parser.add_argument("--quick", action="store_true", help="toy sizes, one round")
    options = parser.parse_args(arguments)
    sizes = Sizes(official_case("face"), options.images, options.steps, options.num)
    if options.quick:
        sizes = Sizes(QUICK, 2, 20, 128)
    print(machine())
    rows = []
    with working_folder(options.out) as folder:
        prepare(folder, sizes)
        for stage, words in stages(sizes).items():
            if options.stage and stage not in options.stage:
                continue
            runs: dict[str, list[ChildRun]] = {way: [] for way in WAYS}
            for _ in range(1 if options.quick else options.rounds):
                for way, found in runs.items():
                    found.append(run_way(words, way, folder))
            rows.append(row(stage, runs))
    columns = ["stage", *WAYS, "two", "one process", "a worker", "worker", "client and scheduler"]
    print_table("Worker processes, --threads 1", columns, rows)


if __name__ == "__main__":
    main()
