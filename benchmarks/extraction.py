"""Extraction beside the usual work-around: time, memory and disk of true-size images, and a check of values.

    python -m benchmarks.extraction

(M) is ``benchmarks.memmap_features``. Every way runs as a child, in turns, for one image and for several, so
that the time of one more image is told from that of starting. Floors stand beside them: plain files of the
same bytes as the dense store's, forced to the disk, and the renderer alone, all cores for one image and, on a
CPU, an image a core. *Core s* is the time that
all cores together work for one more image: divided by their number it is the least that an image can take,
however well rendering and writing overlap. Exit code 1 if a peak passes the limit, the layouts disagree in
one bit, or a stored value differs from exact resizing by more than the roundings that
``benchmarks.agreement`` derives. On a GPU, where (M) is not run, the floors are the baselines.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks import generators
from benchmarks.agreement import ONE_ROUNDING, check
from benchmarks.face_size import (
    CHECKPOINT,
    LAYOUTS,
    QUICK,
    Case,
    extract,
    folder_bytes,
    make_inputs,
    official_case,
)
from benchmarks.measure import (
    ChildRun,
    add_to_summary,
    imports_peak_bytes,
    machine,
    print_table,
    run_child,
    working_folder,
)
from pipeline.machine.cores import num_cores

PEAK_LIMIT = {"cpu": 2 * 2**30, "cuda": 3 * 2**30}  # bytes above the imports
MEMMAP = "(M) memmap"
PLAIN_FILES = "plain files of dense"
RENDER = "render alone"
SIDE_BY_SIDE = "render alone, an image a core"
FLOORS = {"dense": (PLAIN_FILES,), "pyramid": (RENDER, SIDE_BY_SIDE)}
Runs = dict[tuple[str, int], list[ChildRun]]  # by way and number of images


@dataclass(frozen=True)
class Floor:
    """What takes an image without everything around it: seconds, and seconds of all cores together."""

    seconds: Sequence[float]
    core_seconds: Sequence[float]


def run_way(way: str, case: Case, folder: Path, device: str) -> ChildRun:
    """One run of a way on the inputs in ``folder``; what (M) wrote is deleted, a store is kept."""
    if way in LAYOUTS:
        return extract(case, folder, way, "--device", device)
    options = ["--resolution", str(case.resolution), "--out", "memmap"]
    run = run_child(
        [sys.executable, "-m", "benchmarks.memmap_features", CHECKPOINT, "latents.npy", *options], folder
    )
    shutil.rmtree(folder / "memmap")
    return run


def measure_ways(case: Case, folders: dict[int, Path], ways: list[str], repeats: int, device: str) -> Runs:
    """Runs of every way, in turns whose order alternates, since the machine's speed drifts."""
    runs: Runs = {(way, num): [] for way in ways for num in folders}
    for turn in range(repeats):
        for way in ways if turn % 2 == 0 else ways[::-1]:
            for num, folder in folders.items():
                runs[way, num].append(run_way(way, case, folder, device))
    return runs


def image_seconds(runs: Runs, way: str) -> list[float]:
    """Seconds of one more image, of each turn."""
    return one_more(runs, way, lambda run: run.seconds)


def image_core_seconds(runs: Runs, way: str) -> list[float]:
    """Seconds of all cores together, of one more image, of each turn."""
    return one_more(runs, way, lambda run: run.core_seconds)


def one_more(runs: Runs, way: str, figure: Callable[[ChildRun], float]) -> list[float]:
    """What a figure grows by for one more image, of each turn."""
    few, many = sorted(num for name, num in runs if name == way)
    pairs = zip(runs[way, few], runs[way, many], strict=True)
    return [(figure(more) - figure(less)) / (many - few) for less, more in pairs]


def write_all_plainly(store: Path, target: Path) -> tuple[float, float]:
    """Seconds of writing all files of ``store`` again, plainly, each forced to the disk; and of the cores."""
    total = cores = 0.0
    for number, file in enumerate(sorted(p for p in store.rglob("*") if p.is_file())):
        content = file.read_bytes()
        seconds, of_cores = both_clocks(partial(write_plainly, target / str(number), content))
        total, cores = total + seconds, cores + of_cores
    shutil.rmtree(target)
    return total, cores


def both_clocks(work: Callable[[], object]) -> tuple[float, float]:
    """The wall time of one call, and the time of all cores in this process meanwhile."""
    start, cores = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - cores


def write_plainly(path: Path, content: bytes) -> None:
    """A file, on the disk at return."""
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def render_alone(folder: Path, device_name: str, num_images: int = 4) -> dict[str, Floor]:
    """Rendering and nothing else, warm: one image after the other, and on a CPU one a core as well."""
    import torch

    from pipeline.checkpoints.read import load_generator
    from pipeline.machine.device import select_device
    from pipeline.machine.threads import one_thread
    from pipeline.rendering.renderer import Renderer, RenderSettings

    device = select_device(device_name)
    generator = load_generator(folder / CHECKPOINT).generator
    settings = RenderSettings(0.7, 8, "const", 0, (64, 64), (0, 64))
    average = np.zeros(generator.latent_size, np.float32)
    renderer = Renderer(generator, settings, average, device)

    def one() -> None:
        renderer.render(np.load(folder / "latents.npy")[:1], "z", [0])
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def several() -> None:
        with one_thread(), ThreadPoolExecutor(num_cores()) as pool:
            for rendering in [pool.submit(one) for _ in range(num_cores())]:
                rendering.result()

    one()
    floors = {RENDER: Floor(*zip(*(both_clocks(one) for _ in range(num_images)), strict=True))}
    if device.type == "cpu":
        several()
        times = [[each / num_cores() for each in both_clocks(several)] for _ in range(num_images)]
        floors[SIDE_BY_SIDE] = Floor(*zip(*times, strict=True))
    return floors


def spread(seconds: Sequence[float]) -> str:
    """Smallest and largest."""
    return f"{min(seconds):.2f} to {max(seconds):.2f}"


def table_rows(runs: Runs, ways: list[str], floors: dict[str, Floor], folder: Path) -> list[list[str]]:
    """Ways and floors, with ratios to the first."""
    most = max(num for _, num in runs)
    imports = imports_peak_bytes()
    base = ways[0] if ways[0] not in LAYOUTS else None
    rows = []
    for way in ways:
        whole, one = [run.seconds for run in runs[way, most]], image_seconds(runs, way)
        ratios = ["", ""]
        if base:
            ratios[0] = f"{median(whole) / median(run.seconds for run in runs[base, most]):.2f}"
            ratios[1] = f"{median(one) / median(image_seconds(runs, base)):.2f}"
        peak = max(run.peak_bytes for run in runs[way, most])
        disk = f"{folder_bytes(folder / f'{way}.zarr') / most / 1e6:,.1f}" if way in LAYOUTS else ""
        several = [f"{median(whole):.2f}", spread(whole), ratios[0]]
        cores = f"{median(image_core_seconds(runs, way)):.2f}"
        further = [f"{median(one):.2f}", spread(one), ratios[1], cores]
        rows.append([way, *several, *further, f"{(peak - imports) / 2**30:.2f}", disk])
    for name, floor in floors.items():
        seconds, cores = floor.seconds, f"{median(floor.core_seconds):.2f}"
        rows.append([name, "", "", "", f"{median(seconds):.2f}", spread(seconds), "", cores, "", ""])
    return rows


def largest_peak(runs: Runs) -> int:
    """Of the stores' ways, bytes above the imports."""
    peaks = [run.peak_bytes for (way, _), found in runs.items() if way in LAYOUTS for run in found]
    return max(peaks) - imports_peak_bytes()


def measure(case: Case, folder: Path, options: argparse.Namespace) -> bool:
    """Print the table. Returns whether all that was promised held."""
    folders = {num: folder / f"images{num}" for num in (1, options.images)}
    for num, place in folders.items():
        make_inputs(case, place, num)
    most = folders[options.images]
    on_gpu = options.device != "cpu"
    ways = [*([] if on_gpu or case.crop_rows else [MEMMAP]), *LAYOUTS]
    runs = measure_ways(case, folders, ways, options.repeats, options.device)
    agreement = check(most, options.pixels, options.device)
    files = [write_all_plainly(most / "dense.zarr", most / "plain") for _ in range(options.repeats)]
    plain = Floor(*([each / options.images for each in times] for times in zip(*files, strict=True)))
    floors = {PLAIN_FILES: plain, **render_alone(most, options.device)}
    width = generators.feature_width(case.widths)
    title = (
        f"extract-features, {case.name}, {case.resolution} x {case.resolution} x {width}, {options.device}"
    )
    heads = [f"{options.images} images s", "range", "/ (M)", "1 more s", "range", "/ (M)", "core s"]
    print_table(
        title,
        ["way", *heads, "GiB above imports", "MB on disk, each"],
        table_rows(runs, ways, floors, most),
    )
    if not on_gpu and not case.crop_rows:
        summarise(runs, options.images)
    for way, names in FLOORS.items():
        for name in names:
            if name in floors:
                report_floor(runs, way, name, floors[name])
    print(f"dense and pyramid agree bit for bit at {options.pixels} pixels: {agreement.same_bits}")
    unit = f"of the float16 spacing (one rounding is {ONE_ROUNDING})"
    print(f"stored maps, worst distance to the network's, rendered again: {agreement.maps:.4f} {unit}")
    print(f"features there, worst distance to the stored maps resized: {agreement.features:.4f} {unit}")
    peak, limit = largest_peak(runs), PEAK_LIMIT["cuda" if on_gpu else "cpu"]
    print(f"largest peak above the imports {peak / 2**30:.2f} GiB, limit {limit / 2**30:.0f} GiB")
    return agreement.holds() and peak < limit


def report_floor(runs: Runs, way: str, name: str, floor: Floor) -> None:
    """How far one more image is from its floor, and from what the cores have to do for it."""
    seconds, alone = median(image_seconds(runs, way)), median(floor.seconds)
    cores = num_cores()
    least = median(image_core_seconds(runs, way)) / cores
    ratio = f"{seconds / alone:.2f}"
    print(
        f"{way}: one more image takes {ratio} times as long as {name}; "
        f"{cores} cores that were never idle would take {least:.2f} s, {least / alone:.2f} times as long"
    )
    add_to_summary(f"one more image, {way}", f"{seconds:.2f} s", f"{alone:.2f} s ({name})", f"{ratio}x")


def summarise(runs: Runs, num_images: int) -> None:
    """The two lines on extraction in the last table of `python -m benchmarks`."""
    imports = imports_peak_bytes()
    peaks = {
        way: max(run.peak_bytes for run in found) - imports
        for (way, num), found in runs.items()
        if num == num_images
    }
    seconds = {way: median(run.seconds for run in runs[way, num_images]) for way in peaks}
    add_to_summary(
        "peak memory of extracting features, above the imports",
        " and ".join(f"{peaks[layout] / 2**30:.2f} GiB {layout}" for layout in LAYOUTS),
        f"{peaks[MEMMAP] / 2**30:.2f} GiB (M)",
        " and ".join(f"{peaks[layout] / peaks[MEMMAP]:.2f}x" for layout in LAYOUTS),
    )
    add_to_summary(
        f"extract the features of {num_images} images, whole command",
        " and ".join(f"{seconds[layout]:.1f} s {layout}" for layout in LAYOUTS),
        f"{seconds[MEMMAP]:.1f} s (M)",
        " and ".join(f"{seconds[layout] / seconds[MEMMAP]:.2f}x" for layout in LAYOUTS),
    )


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Extract true-size images beside the usual work-around.")
    parser.add_argument("--kind", choices=generators.KINDS, default="face")
    parser.add_argument("--images", type=int, default=2, help="of the larger run, at least 2")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pixels", type=int, default=400, help="pixels to check")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--folder", type=Path, help="work here, and keep the stores")
    parser.add_argument("--quick", action="store_true", help="a toy generator, one run")
    options = parser.parse_args(arguments)
    if options.quick:
        options.repeats = 1
    print(machine())
    with working_folder(options.folder) as folder:
        held = measure(QUICK if options.quick else official_case(options.kind), folder, options)
    if not held:
        sys.exit("a promise was broken: see above")


if __name__ == "__main__":
    main()
