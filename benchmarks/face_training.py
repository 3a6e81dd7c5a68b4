"""`dgan train` at face size to its own end: axes, epochs, seconds, memory, validation mIoU.

    python -m benchmarks.face_training

Sixteen images of a random-weight generator of faces, 512 x 512 x 5088, as a pyramid. So that there is
something to learn, labels follow from the features: in the space of a few leading principal axes of the 16 px
and the 32 px layers the nearest of 34 centres, pixels of the images themselves, gives the class. So the axes
that decide are always among those that are kept, and the quality says little for or against a subspace. A
trained generator's features hold their energy in far fewer axes; the table says how many were kept.

With ``--steps`` every way learns for as many steps, else by its own stopping rule. The last column is the
time that the released procedure would take, by arithmetic from ``--released`` pixels a second, which
`benchmarks.training` measures: its rule ends in the fifth pass over all pixels at the earliest.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks import face_size
from benchmarks.measure import DGAN, ChildRun, add_to_summary, machine, print_table, run_child, working_folder
from benchmarks.released import PATIENT_EPOCHS

CLASSES = 34
AXES = slice(1, 5)  # of each resolution; the first is the mean, more or less
STORE = "pyramid.zarr"
MEMBERS = 10


def write_labels(folder: Path) -> None:
    """Masks that follow from the features of the folder's store, in place of those that are there."""
    import torch

    import fstore
    from pipeline.stages.train.subspace import principal_axes

    store = fstore.open(folder / STORE)
    assert isinstance(store, fstore.FeatureStore)
    meta, generator = store.meta, torch.Generator().manual_seed(0)
    found_axes = principal_axes(meta, (store.native_maps(image) for image in range(len(store))))
    middle = [run for run, layers in enumerate(found_axes.runs) if layers[0].resolution[0] in (16, 32)]

    def points(image: int) -> torch.Tensor:
        maps = dict(zip((layer.name for layer in meta.layers), store.native_maps(image), strict=True))
        parts = []
        for run in middle:
            joined = torch.cat([maps[layer.name] for layer in found_axes.runs[run]], dim=2)
            turned = joined.float() @ found_axes.axes[run][:, AXES].float()
            wide = turned.permute(2, 0, 1)[None]
            whole = torch.nn.functional.interpolate(
                wide, size=meta.grid, mode="bilinear", align_corners=False
            )
            parts.append(whole[0].flatten(1).T)
        return torch.cat(parts, dim=1)

    found = [points(image) for image in range(len(store))]
    spread = torch.cat([each[::97] for each in found])
    mean, scale = spread.mean(0), spread.std(0)
    centres = spread[torch.randperm(len(spread), generator=generator)[:CLASSES]]
    for image, each in enumerate(found):
        near = torch.cdist((each - mean) / scale, (centres - mean) / scale).argmin(1)
        mask = near.reshape(meta.grid).numpy().astype(np.uint8)
        np.save(folder / "masks" / f"image_mask{image}.npy", mask)


def make_store(folder: Path, images: int, case: face_size.Case) -> None:
    """The pyramid with its labels: extracted once, then corrected by the same command. Or the one there."""
    if (folder / STORE).exists():
        return
    face_size.make_inputs(case, folder, images)
    face_size.extract(case, folder, "pyramid")
    write_labels(folder)
    words = ["--checkpoint", face_size.CHECKPOINT, "--latents", "latents.npy", "--annotations", "masks"]
    size = ["--resolution", str(case.resolution), "--layout", "pyramid", "--store", STORE]
    run_child([*DGAN, "extract-features", *words, *size, "--device", "cpu"], folder)


def train(folder: Path, way: str, options: argparse.Namespace) -> ChildRun:
    """``dgan train`` with one ``--subspace``, from nothing."""
    size = ["--members", str(MEMBERS), "--batch-size", str(options.batch_size)]
    steps = ["--steps", str(options.steps)] if options.steps else []
    files = ["--store", STORE, "--out", f"interpreter-{way}", "--overwrite"]
    return run_child(
        [*DGAN, "train", *files, "--subspace", way, *size, *steps, "--device", options.device], folder
    )


def row(folder: Path, way: str, run: ChildRun, released_seconds: float) -> list[str]:
    """A line of the table."""
    info = json.loads((folder / f"interpreter-{way}" / "interpreter.json").read_text())
    ruled = [epoch for epoch in info["epochs"] if not epoch["final"]]
    best = max(epoch["miou"] for epoch in ruled)
    axes = next((line for line in run.output.splitlines() if "axes" in line), "")
    return [
        way,
        axes.split(" axes")[0].split()[-1].replace(",", "") if axes else "all",
        str(len(info["epochs"])),
        f"{info['epochs'][-1]['steps']:,}",
        f"{run.seconds:.0f}",
        f"{run.peak_bytes / 1e6:,.0f}",
        f"{best:.4f}",
        f"{released_seconds / 3600:.1f} h" if released_seconds else "",
    ]


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="dgan train at face size, to its end.")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--ways", default="auto,off", help="values of --subspace, with commas between")
    parser.add_argument("--steps", type=int, help="of every way; by itself each stops by its own rule")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--released", type=float, help="pixels x members a second of the released procedure")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:i")
    parser.add_argument("--folder", type=Path, help="work here, and use the store that is there")
    parser.add_argument("--quick", action="store_true", help="toy features, few steps")
    options = parser.parse_args(arguments)
    case = face_size.official_case("face")
    if options.quick:
        case, options.images, options.steps = face_size.QUICK, 3, 40
    print(machine())
    with working_folder(options.folder) as folder:
        make_store(folder, options.images, case)
        pixels = PATIENT_EPOCHS * options.images * case.resolution**2 * MEMBERS
        seconds = pixels / options.released if options.released else 0.0
        rows = [row(folder, way, train(folder, way, options), seconds) for way in options.ways.split(",")]
    add_to_summary(f"dgan train, {options.images} face images", f"{rows[0][4]} s", rows[0][7], "")
    columns = ["--subspace", "axes", "epochs", "steps", "s", "peak MB", "validation mIoU", "(R), at least"]
    length = f"--steps {options.steps}" if options.steps else "by the stopping rule"
    print_table(f"dgan train on {options.images} images, {length}, {options.device}", columns, rows)


if __name__ == "__main__":
    main()
