"""`dgan export --format png` beside a plain loop with pillow on as many cores; and what PNG's settings cost.

    python -m benchmarks.export

The store holds faces of the demo's exact renderer, with the grain of a camera: a generator's pictures
compress about as badly. *pillow* is what a user would write without `dgan export`: a pool of processes, one a
core, each reads arrays of the same store with `fstore`, a block of 64 images at a time, and saves image and
label as PNG with pillow's defaults. Ways run as whole commands, in turns; the images and labels of the two
are compared.

The second table encodes the same images in memory with each setting of pillow's PNG writer, with and without
the grain.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import zlib
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import process_time

import numpy as np
from PIL import Image

from benchmarks.measure import DGAN, add_to_summary, machine, print_table, run_child, working_folder

DISTINCT, TASK = 64, 64  # pictures that differ; images of one task of the store
GRAIN = 2.0  # standard deviation, in grey levels
SETTINGS: dict[str, dict[str, int]] = {
    "pillow's default": {},
    "compress_level 1": {"compress_level": 1},
    "compress_level 3": {"compress_level": 3},
    "compress_level 9": {"compress_level": 9},
    "dgan's: Z_RLE": {"compress_type": zlib.Z_RLE},
}


def pictures(side: int, grain: float, num: int = DISTINCT) -> tuple[np.ndarray, np.ndarray]:
    """(num, side, side, 3) uint8 and their masks (num, side, side) uint8."""
    import torch

    from pipeline.embedded.renderer import render
    from pipeline.machine.random_streams import Purpose
    from pipeline.rendering.latents import seeded_latents

    latents = seeded_latents(Purpose.ANNOTATED_LATENTS, 0, range(num), 64)
    images, masks = render(torch.from_numpy(latents), side)
    levels = (images.permute(0, 2, 3, 1).numpy() + 1) * 127.5  # [N, H, W, 3]
    levels += np.random.default_rng(0).normal(0, grain, levels.shape)
    return levels.round().clip(0, 255).astype(np.uint8), masks.numpy()


def make_store(path: Path, side: int, num: int) -> None:
    """A dataset of ``num`` such images, all of them kept."""
    import fstore
    from fstore import format as fmt
    from pipeline.settings.classes import default_palette

    images, masks = pictures(side, GRAIN)
    colors = default_palette(int(masks.max()) + 1)
    classes = tuple(fmt.ClassInfo(i, f"class {i}", color) for i, color in enumerate(colors))
    writer = fstore.create_dataset(path, fmt.DatasetMeta((side, side), classes, 4), num_images=num)
    for task in writer.pending_tasks():
        count = len(writer.task_images(task))
        specs = fmt.dataset_arrays(writer.meta, count)
        parts = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in specs}
        writer.write_task(task, parts | {"images": images[:count], "labels": masks[:count]})
    writer.close()
    fstore.set_kept(path, np.ones(num, bool), "1", 0.0)


def pillow_loop(store: Path, out: Path, processes: int) -> None:
    """The plain way: every image and label of a store as PNG, by pillow's defaults."""
    import fstore

    for name in ("images", "labels"):
        (out / name).mkdir(parents=True)
    tasks = [(store, out, first) for first in range(0, len(fstore.open(store)), TASK)]
    with get_context("fork").Pool(processes) as pool:
        pool.starmap(_save_block, tasks)


def _save_block(path: Path, out: Path, first: int) -> None:
    import fstore

    store = fstore.open(path)
    assert isinstance(store, fstore.Dataset)
    images = store.images[first : first + TASK].compute(scheduler="sync")
    labels = store.labels[first : first + TASK].compute(scheduler="sync")
    for index, (image, label) in enumerate(zip(images, labels, strict=True), start=first):
        Image.fromarray(image).save(out / "images" / f"{index:06d}.png")
        Image.fromarray(label).save(out / "labels" / f"{index:06d}.png")


def ways(processes: int) -> dict[str, list[str]]:
    """Way -> its command; ``OUT`` stands for a new folder."""
    plain = [
        sys.executable,
        "-m",
        "benchmarks.export",
        "--loop",
        "d.zarr",
        "OUT",
        "--processes",
        str(processes),
    ]
    dgan = [*DGAN, "export", "d.zarr", "OUT", "--threads", str(processes), "--format"]
    return {"pillow": plain, "dgan png": [*dgan, "png"], "dgan webdataset": [*dgan, "webdataset"]}


def time_ways(folder: Path, repeats: int, processes: int) -> dict[str, list[float]]:
    """Way -> seconds of each run; the ways take turns. ``folder`` has the exports of the last turn."""
    seconds: dict[str, list[float]] = {name: [] for name in ways(processes)}
    for turn in range(repeats):
        for name, command in ways(processes).items():
            out = f"{name} {turn}"
            run = run_child([out if word == "OUT" else word for word in command], folder)
            seconds[name].append(run.seconds)
    return seconds


def check_equal(first: Path, second: Path) -> None:
    """Raise AssertionError unless two folders of PNGs hold the same images and labels."""
    for name in ("images", "labels"):
        names = sorted(os.listdir(first / name))
        assert names == sorted(os.listdir(second / name))
        for file in names:
            with Image.open(first / name / file) as a, Image.open(second / name / file) as b:
                assert np.array_equal(np.array(a), np.array(b)), file


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def encode(arrays: Sequence[np.ndarray], **settings: int) -> tuple[float, float]:
    """Milliseconds of one core, and kB, an image."""
    num_bytes, start = 0, process_time()
    for array in arrays:
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, format="PNG", **settings)
        num_bytes += buffer.tell()
    return (process_time() - start) * 1e3 / len(arrays), num_bytes / 1e3 / len(arrays)


def settings_rows(side: int, repeats: int, num: int) -> list[list[str]]:
    """A row a setting: time and size of pictures with grain, without it, and of labels."""
    grainy, masks = pictures(side, GRAIN, num)
    smooth, _ = pictures(side, 0.0, num)
    rows = []
    for name, settings in SETTINGS.items():
        row = [name]
        for arrays in (grainy, smooth, masks):
            found = [encode(list(arrays), **settings) for _ in range(repeats)]
            row += [f"{median(time for time, _ in found):.2f}", f"{found[0][1]:.1f}"]
        rows.append(row)
    return rows


def report(folder: Path, side: int, num: int, repeats: int, processes: int) -> None:
    """Run and print both tables."""
    make_store(folder / "d.zarr", side, num)
    seconds = time_ways(folder, repeats, processes)
    last = repeats - 1
    check_equal(folder / f"pillow {last}", folder / f"dgan png {last}")
    base = median(seconds["pillow"])
    rows = [
        [
            name,
            f"{median(spans):.2f}",
            f"{min(spans):.2f} to {max(spans):.2f}",
            f"{num / median(spans):.0f}",
            f"{median(spans) / base:.2f}",
            f"{folder_bytes(folder / f'{name} {last}') / 1e3 / num:.1f}",
        ]
        for name, spans in seconds.items()
    ]
    columns = ["way", "s", "range", "images/s", "/ pillow", "kB an image"]
    print_table(f"Exporting {num} images of {side} x {side}, {processes} processes or threads", columns, rows)
    print("Pictures and labels of pillow and dgan are equal.")
    columns = ["setting", "ms", "kB", "smooth ms", "smooth kB", "labels ms", "labels kB"]
    print_table("One image as PNG, on one core", columns, settings_rows(side, repeats, min(num, 32)))
    ours = median(seconds["dgan png"])
    add_to_summary(
        f"exporting {num} images of {side} px as PNG",
        f"{ours:.1f} s",
        f"{base:.1f} s (pillow)",
        f"{ours / base:.2f}x",
    )


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="PNG export beside a plain loop with pillow.")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="toy sizes, one run")
    parser.add_argument(
        "--loop", nargs=2, type=Path, metavar=("STORE", "OUT"), help="run the plain loop alone"
    )
    options = parser.parse_args(arguments)
    if options.loop:
        store, out = options.loop
        pillow_loop(store, out, options.processes)
        return
    if options.quick:
        options.images, options.side, options.repeats = 10, 32, 1
    print(machine())
    with working_folder(None) as folder:
        report(folder, options.side, options.images, options.repeats, options.processes)


if __name__ == "__main__":
    main()
