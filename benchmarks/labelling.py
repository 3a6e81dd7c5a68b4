"""Render, label, score and write one image: `dgan synthesize` beside the released procedure (R).

    python -m benchmarks.labelling                 # --kind car, --kind cat for the other released sizes
    python -m benchmarks.labelling --subspace off  # the interpreter reads every channel, like a released one
    python -m benchmarks.labelling --device cuda
    python -m benchmarks.labelling --votes         # what counting the members' votes adds to labelling, alone

(R) is `benchmarks.released_label`. Both work on a random-weight generator of the true size and on the same
interpreter of 10 members, trained for a few steps, in processes of their own; imports and loading are not
counted. The runs take turns. *Agreement* is the share of pixels with the released procedure's label on the
images that both made: an interpreter that has hardly been trained is unsure, which makes it a hard case.
`benchmarks.released_procedure` prints how far the two precisions agree for one that is trained.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.generators import KINDS, feature_width, make_checkpoint, make_inputs, official_widths
from benchmarks.measure import (
    DGAN,
    add_to_summary,
    machine,
    precisions,
    print_table,
    run_child,
    working_folder,
)

GRIDS = {"face": (512, None, 34), "car": (512, "64:448", 20), "cat": (256, None, 16)}
"""Resolution of the features, rows kept, classes."""
VOTE_CASES = ((64, [128, 128, 96, 64, 32], 11), (512, official_widths(512), 34))
"""Of `--votes`: pixels a side, channels of the blocks, classes; the demo, and a generator of 512 pixels."""
QUICK = ([16, 16, 8, 8], 12, 32, 5)


@dataclass(frozen=True)
class Outcome:
    """One run: seconds an image, the parts of it that the program tells apart, the peak of its process."""

    image_seconds: list[float]
    parts: dict[str, list[float]]
    peak_bytes: int


def prepare(folder: Path, kind: str, quick: bool, subspace: str) -> None:
    """A checkpoint, and an interpreter of 10 members in ``interpreter/``, trained in this subspace."""
    widths, latent_size = (QUICK[0], QUICK[1]) if quick else (official_widths(KINDS[kind]), 512)
    side, rows, classes = (QUICK[2], None, QUICK[3]) if quick else GRIDS[kind]
    make_checkpoint(folder / "g.pt", widths, latent_size)
    mask_side = side if rows is None else int(rows.split(":")[1]) - int(rows.split(":")[0])
    make_inputs(folder, side, num_images=1, latent_size=latent_size, num_classes=classes)
    if rows is not None:
        first = int(rows.split(":")[0])
        for mask in (folder / "masks").iterdir():
            np.save(mask, np.load(mask)[first : first + mask_side])
    crop = [] if rows is None else ["--crop-rows", rows]
    inputs = ["--checkpoint", "g.pt", "--latents", "latents.npy", "--annotations", "masks"]
    layout = ["--layout", "pyramid", "--resolution", str(side), "--num-classes", str(classes)]
    run_child([*DGAN, "extract-features", *inputs, *layout, *crop], folder)
    steps = ["--steps", "20" if quick else "150", "--subspace", subspace]
    run_child([*DGAN, "train", "--store", "features.zarr", *steps], folder)


def released(folder: Path, num: int, device: str) -> Outcome:
    """The released procedure in a child."""
    command = [sys.executable, "-m", "benchmarks.released_label", "g.pt", "interpreter", "released"]
    run = run_child([*command, "--num", str(num), "--device", device], folder)
    parts = json.loads(run.output.splitlines()[-1])
    return Outcome([sum(spans) for spans in zip(*parts.values(), strict=True)], parts, run.peak_bytes)


def ours(folder: Path, num: int, device: str, precision: str) -> Outcome:
    """The synthesize stage in a child: every step of it but reading its inputs."""
    command = [sys.executable, "-m", "benchmarks.labelling", "--child", precision, "--device", device]
    run = run_child([*command, "--images", str(num)], folder)
    seconds = json.loads(run.output.splitlines()[-1])
    return Outcome([seconds / num], {}, run.peak_bytes)


def child(num: int, device: str, precision: str) -> None:
    """Synthesize ``num`` images in the working folder; prints the seconds that it took."""
    from pipeline.machine.environment import prepare_environment

    prepare_environment()  # as `dgan` does, before torch is imported
    from pipeline.machine.device import resolve_precision, select_device
    from pipeline.settings.files import Config, with_overrides
    from pipeline.stages.synthesize import stage

    config = with_overrides(Config(), "generator", checkpoint=Path("g.pt"))
    store = f"{precision}.zarr"
    config = with_overrides(config, "synthesize", num=num, precision=precision, store=store)
    job = stage.prepare(config)
    target = select_device(device)
    if target.type == "cuda":  # contexts, kernels and weights are made and moved once, not for each image
        warm = stage.make_source(job, target, resolve_precision(precision, target))
        warm.batch(range(job.config.render_batch), 1).host_arrays()
    start = time.perf_counter()
    stage.synthesize(job, target, overwrite=True)
    print(json.dumps(time.perf_counter() - start))


def agreement(folder: Path, precision: str, num: int) -> float:
    """The share of pixels of the first ``num`` images with the released procedure's label."""
    import fstore

    labels = fstore.open(folder / f"{precision}.zarr").labels[:num].compute()  # type: ignore[union-attr]
    expected = np.stack([np.load(folder / "released" / f"label_{i}.npy") for i in range(num)])
    return float((labels == expected).mean())


def measure(
    kind: str, folder: Path, *, images: int, repeats: int, device: str, quick: bool, subspace: str
) -> None:
    """Print the table."""
    prepare(folder, kind, quick, subspace)
    tried = precisions(device)
    runs: dict[str, list[Outcome]] = {name: [] for name in ("released (R)", *tried)}
    num_released = 2 if quick else 1
    for _ in range(repeats):  # taking turns, so that a busy minute does not fall on one of them alone
        runs["released (R)"].append(released(folder, num_released, device))
        for precision in tried:
            runs[precision].append(ours(folder, images, device, precision))
    baseline = median(span for run in runs["released (R)"] for span in run.image_seconds)
    rows = []
    for name, outcomes in runs.items():
        spans = [span for run in outcomes for span in run.image_seconds]
        middle = median(spans)
        rows.append(
            [
                name,
                f"{middle:.2f}",
                f"{min(spans):.2f} to {max(spans):.2f}",
                f"{baseline / middle:.1f}x",
                f"{max(run.peak_bytes for run in outcomes) / 1e9:.2f}",
                "" if name.startswith("released") else f"{agreement(folder, name, num_released):.4%}",
            ]
        )
    columns = ["labelling", "s an image", "range", "faster", "peak GB", "agreement"]
    seconds = {
        name: median(s for run in outcomes for s in run.image_seconds) for name, outcomes in runs.items()
    }
    add_to_summary(
        f"render, label, score and write one {kind} image ({device})",
        ", ".join(f"{seconds[name]:.2f} s {name}" for name in tried),
        f"{baseline:.1f} s (R)",
        " and ".join(f"{baseline / seconds[name]:.1f}x" for name in tried) + " faster",
    )
    title = f"Render, label, score and write one {kind} image, 10 members, on {device}"
    print_table(title, columns, rows)
    parts = {
        part: median(span for run in runs["released (R)"] for span in run.parts[part])
        for part in ("render", "label", "write")
    }
    print("released: " + ", ".join(f"{part} {seconds:.2f} s" for part, seconds in parts.items()))


def votes(repeats: int, quick: bool) -> None:
    """Print what `member_votes` adds to labelling the same feature maps, 10 members with random weights.

    Labelling with and without votes takes turns. The times are CPU seconds of one thread, which other
    programs disturb less than the clock; *counting itself* is timed inside the labelling.
    """
    import torch

    torch.set_num_threads(1)
    rows = []
    for side, widths, classes in VOTE_CASES[: 1 if quick else None]:
        spans = _seconds_of_labelling(side, widths, classes, repeats)
        plain, counted = median(spans["label"]), median(spans["label_and_count"])
        part = sum(spans["counting"]) / sum(spans["label_and_count"])
        what = f"{side} px, {classes} classes"
        rows.append(
            [what, f"{1e3 * plain:.1f}", f"{1e3 * counted:.1f}", f"{counted / plain:.3f}x", f"{part:.2%}"]
        )
    columns = ["labelling", "ms an image", "with votes", "ratio", "counting itself"]
    print_table("What counting the members' votes adds: 10 members, float32, one thread", columns, rows)


def _seconds_of_labelling(side: int, widths: list[int], classes: int, repeats: int) -> dict[str, list[float]]:
    import torch

    from fstore.format import build_layers
    from pipeline.labelling.labeller import ImageLabeller
    from pipeline.labelling.votes import Tally
    from pipeline.models.folded import FoldedEnsemble
    from pipeline.models.interpreter import InterpreterEnsemble

    spans: dict[str, list[float]] = {"label": [], "label_and_count": [], "counting": []}

    class TimedTally(Tally):
        def votes_by_label(self, labels: torch.Tensor, pixels: slice) -> torch.Tensor:
            start = time.process_time()
            found = super().votes_by_label(labels, pixels)
            spans["counting"].append(time.process_time() - start)
            return found

    native = [(f"{i}", (4 << i // 2, 4 << i // 2), widths[i // 2]) for i in range(2 * len(widths))]
    maps = [torch.randn(channels, *size) for _, size, channels in native]
    ensemble = InterpreterEnsemble(classes, feature_width(widths), seeds=range(10)).eval()
    folded, layers = FoldedEnsemble(ensemble, torch.float32), build_layers(native, (side, side))
    labeller = ImageLabeller(folded, layers, (side, side), (0, side), tally=TimedTally)
    labeller.label(maps)  # the first takes longer
    for turn in range(repeats):
        for way in (labeller.label, labeller.label_and_count)[:: -1 if turn % 2 else 1]:
            start = time.process_time()
            way(maps)
            spans[way.__name__].append(time.process_time() - start)
    return spans


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Seconds an image of labelling, beside the released way.")
    parser.add_argument("--kind", choices=KINDS, default="face")
    parser.add_argument(
        "--images",
        type=int,
        default=4,
        help="of dgan in a run, 128 or more for a GPU; one of the released way",
    )
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument(
        "--subspace", default="auto", help="what the interpreter is trained in; off: as released"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, help="work here, and keep the files")
    parser.add_argument("--quick", action="store_true", help="a toy generator, one run")
    parser.add_argument("--votes", action="store_true", help="only what counting the members' votes adds")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        child(options.images, options.device, options.child)
        return
    print(machine())
    repeats = 1 if options.quick else options.repeats
    if options.votes:
        votes(repeats, options.quick)
        return
    with working_folder(options.folder) as folder:
        measure(
            options.kind,
            folder,
            images=options.images,
            repeats=repeats,
            device=options.device,
            quick=options.quick,
            subspace=options.subspace,
        )


if __name__ == "__main__":
    main()
