"""What mixing few bands of pixels at a time costs in quality, on the demo: mIoU by the bands in the buffer.

    python -m benchmarks.mixing

The sampler reads a band of an image, 32 rows, once an epoch, and a batch mixes the bands that lie in its
shuffle buffer together: of 16 face images some 18 of 256 in a buffer of the default size. The demo's 16
images have 32 bands. ``dgan train`` runs on them with buffers of few bands, and with one that holds them all,
which is uniform sampling without replacement; the same steps and seeds, all images. The labels of fresh
images are measured against exact masks.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean

from benchmarks import subspace
from benchmarks.measure import machine, print_table, working_folder

BANDS = {2: 5, 5: 11, 10: 22, 32: 512}
"""Bands that are mixed, and ``buffer_mb`` for so many: 2,048 pixels on 543 axes in float16 are 2.2 MB, and
what does not fill a batch stays in the buffer."""


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Quality by the bands that the shuffle buffer mixes.")
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
        found: dict[int, list[float]] = {bands: [] for bands in BANDS}
        for seed in range(options.seeds):
            for bands, qualities in found.items():
                subspace.prepare(folder, held_out=0.0, buffer_mb=BANDS[bands])
                qualities.append(subspace.train(folder, ["--subspace", subspace.CHOSEN], seed, options)[1])
    uniform = mean(found[max(BANDS)])
    rows = [
        [
            bands,
            f"{mean(qualities):.4f}",
            f"{mean(qualities) - uniform:+.4f}",
            f"{min(qualities):.4f} to {max(qualities):.4f}",
        ]
        for bands, qualities in found.items()
    ]
    title = f"dgan train --steps {options.steps} --members {options.members}, {options.seeds} seeds"
    columns = ["bands of 32", f"mIoU of {options.num} images", "against all", "range"]
    print_table(title, columns, rows)


if __name__ == "__main__":
    main()
