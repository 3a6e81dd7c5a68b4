"""`dgan report` of small and large datasets, beside a loop that only reads their images and labels.

    python -m benchmarks.report_page

The store holds faces of the demo's exact renderer with the grain of a camera, each shifted by another number
of pixels, so that no two are equal; divergences lie at the boundaries of labels.
*reading* is a loop in one process that reads every image and label with `fstore`, a task of 64 images at a
time, and does nothing with them: no page of figures on all images can take less work. Both run as whole
commands, in turns.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.export import DISTINCT, GRAIN, pictures
from benchmarks.measure import DGAN, ChildRun, add_to_summary, machine, print_table, run_child, working_folder

READING = """
import sys, numpy as np, fstore
store = fstore.open(sys.argv[1])
for first in range(0, len(store), 64):
    for array in (store.images, store.labels):
        np.asarray(array[first : first + 64].compute(scheduler="sync"))
"""
STEP = 7  # pixels by which one image is shifted more than the one before


def shifted(values: np.ndarray, image: int) -> np.ndarray:
    """(H, W, ...) with rows and columns moved around by a number that is the image's."""
    side = values.shape[0]
    return np.roll(values, (STEP * image % side, STEP * image // side % side), (0, 1))


def make_store(path: Path, side: int, num: int) -> None:
    """A dataset of ``num`` such images of which 0.9 are kept."""
    from fractions import Fraction

    import fstore
    from fstore import format as fmt
    from pipeline.labelling.scores import keep_mask
    from pipeline.settings.classes import default_palette

    images, masks = pictures(side, GRAIN, min(num, DISTINCT))
    edges = masks != np.roll(masks, 1, 2)  # [N, H, W]
    random = np.random.default_rng(0)
    colors = default_palette(int(masks.max()) + 1)
    classes = tuple(fmt.ClassInfo(i, f"class {i}", color) for i, color in enumerate(colors))
    meta = fmt.DatasetMeta((side, side), classes, 4)
    writer = fstore.create_dataset(path, meta, num_images=num)
    scores = random.gamma(4, 0.01, num).astype(np.float32)
    for task in writer.pending_tasks():
        these = writer.task_images(task)
        places = [i % len(images) for i in these]
        noise = random.random((len(these), side, side), np.float32)
        parts = {
            "images": np.stack([shifted(images[k], i) for i, k in zip(these, places, strict=True)]),
            "labels": np.stack([shifted(masks[k], i) for i, k in zip(these, places, strict=True)]),
            "divergence": (noise * np.where(edges[places], 0.7, 0.02)).astype(np.float16),
            "latents": np.zeros((len(these), 4), np.float32),
            "uncertainty": scores[these.start : these.stop],
        }
        writer.write_task(task, parts)
    writer.close()
    kept, threshold = keep_mask(scores, Fraction("0.9"))
    fstore.set_kept(path, kept, "0.9", threshold)


def compare(folder: Path, side: int, num: int, repeats: int) -> list[list[str]]:
    """The rows of one store. The last run's page is left in ``folder``."""
    store, page = folder / f"{num}.zarr", folder / f"{num}.html"
    make_store(store, side, num)
    commands = {
        "reading": [sys.executable, "-c", READING, str(store)],
        "dgan report": [*DGAN, "report", str(store), "--out", str(page)],
    }
    runs: dict[str, list[ChildRun]] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            runs[name].append(run_child(command, folder))
    seconds = {name: median(run.seconds for run in found) for name, found in runs.items()}
    add_to_summary(
        f"a page of {num:,} images of {side} px",
        f"{seconds['dgan report']:.0f} s",
        f"{seconds['reading']:.0f} s (reading alone)",
        f"{seconds['dgan report'] / seconds['reading']:.2f}x",
    )
    return [
        [
            f"{num:,}",
            name,
            f"{seconds[name]:.1f}",
            f"{max(run.peak_bytes for run in found) / 2**20:.0f}",
            f"{page.stat().st_size / 1e6:.1f}" if name == "dgan report" else "",
        ]
        for name, found in runs.items()
    ]


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="dgan report beside reading a dataset alone.")
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="toy sizes, one run")
    options = parser.parse_args(arguments)
    if options.quick:
        options.images, options.side, options.repeats = [6, 70], 32, 1
    print(machine())
    with working_folder(None) as folder:
        rows = [row for num in options.images for row in compare(folder, options.side, num, options.repeats)]
    columns = ["images", "what", "s", "peak MiB", "page MB"]
    print_table(f"A page of images of {options.side} x {options.side}", columns, rows)


if __name__ == "__main__":
    main()
