"""What mixing few bands of pixels at a time costs in quality, on the demo: mIoU by the bands in the buffer.

    python -m benchmarks.mixing
    python -m benchmarks.mixing --images 128

The sampler reads a band of an image, 32 rows, once an epoch, and a batch mixes the bands that lie in its
shuffle buffer together: of 16 face images some 18 of 256 in a buffer of the default size. The demo's 16
images have 32 bands, 128 images of its generator 256. ``dgan train`` runs on them with buffers of few bands,
and with one that holds them all, which is uniform sampling without replacement; the same steps and seeds, all
images. The labels of fresh images are measured against exact masks.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean

from benchmarks import subspace
from benchmarks.downstream_inputs import CONFIG
from benchmarks.measure import DGAN, machine, print_table, run_child, working_folder
from pipeline import embedded

BANDS = {16: {2: 5, 5: 11, 10: 22, 32: 512}, 128: {5: 9, 18: 30, 256: 1024}}
"""By the number of images: bands that are mixed, and ``buffer_mb`` for so many. On some 550 axes in float16 a
band of the demo's 2,048 pixels takes 2.2 MB. Of one of the 256 five members draw 1,560 different pixels in an
epoch, 1.7 MB. What does not fill a batch stays in the buffer."""


def prepare(folder: Path, images: int, **training: float) -> None:
    """A folder with the features of so many annotated images, and these settings of training."""
    if images == 16:
        subspace.prepare(folder, **training)
        return
    lines = [f"{name} = {value}" for name, value in training.items()]
    num_classes = len(embedded.class_names())
    settings = CONFIG.format(checkpoint=embedded.checkpoint_path(), annotated=images, num_classes=num_classes)
    (folder / "dgan.toml").write_text("\n".join([settings, "[train]", *lines, ""]))
    if not (folder / "demo" / subspace.STORE).exists():
        embedded.write_inputs(folder, images)
        (folder / "demo").mkdir()
        run_child([*DGAN, "extract-features", "--store", f"demo/{subspace.STORE}"], folder)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Quality by the bands that the shuffle buffer mixes.")
    parser.add_argument("--images", type=int, choices=BANDS, default=16, help="annotated")
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
        buffers = BANDS[options.images]
        found: dict[int, list[float]] = {bands: [] for bands in buffers}
        for seed in range(options.seeds):
            for bands, qualities in found.items():
                prepare(folder, options.images, held_out=0.0, buffer_mb=buffers[bands])
                qualities.append(subspace.train(folder, ["--subspace", subspace.CHOSEN], seed, options)[1])
    uniform = mean(found[max(buffers)])
    rows = [
        [
            bands,
            f"{mean(qualities):.4f}",
            f"{mean(qualities) - uniform:+.4f}",
            f"{min(qualities):.4f} to {max(qualities):.4f}",
        ]
        for bands, qualities in found.items()
    ]
    title = f"dgan train --steps {options.steps} --members {options.members} on {options.images} images"
    title += f", {options.seeds} seeds"
    columns = [f"bands of {max(buffers)}", f"mIoU of {options.num} images", "against all", "range"]
    print_table(title, columns, rows)


if __name__ == "__main__":
    main()
