"""What ``dgan translate`` learns between two procedural domains with exact pairs, and what a segmenter gains.

    python -m benchmarks.translation --folder translation

The source are the demo's faces with their exact masks, the targets the same renderer in two styles: ``dusk``
(images) and ``masks``. Unpaired sides show different faces. After each epoch the translator carries faces
that it has not seen, and their exact partners say how far it is off: ``L2`` is the mean squared difference of
values in [0, 1], *pixels* the mean absolute one in grey levels, *feedback* what the discriminator says of
them. The first table asks whether training without an adversary is better on masks, and with one on images.

The second one tests a segmenter on photographs at dusk: it learns from the source as it is, from the source
as each translator to ``dusk`` carries it (``dgan translate apply``), and, as an upper bound, from as many
photographs at dusk with their exact masks. All are DeepLabV3 at 128 pixels, as in the demo's settings.

What is done lies in ``--folder``, and the same command goes on with the rest.
"""

from __future__ import annotations

import argparse
import json
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field
from io import StringIO
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.measure import machine, print_table, working_folder

if TYPE_CHECKING:
    import torch

    from pipeline.translate.training.learner import Learner

IMAGES, MASKS = "dusk", "masks"
OTHER_FACES, NEW_FACES, PHOTOGRAPHS = 1, 2, 3  # seeds; the source's is 0
TRANSLATOR_SETTINGS = ("epochs", "batch_size", "width", "upsample", "seed")
SETTINGS = (*TRANSLATOR_SETTINGS, "images", "new_faces", "photographs", "segmenter_epochs", "resolution")
"""That a folder is of."""


@dataclass(frozen=True)
class Way:
    """A training of a translator: to which style, of pairs or not, with an adversary or without."""

    style: str
    paired: bool
    adversary: bool

    @property
    def name(self) -> str:
        """In the tables."""
        return f"{'paired' if self.paired else 'unpaired'}, {'with' if self.adversary else 'no'} adversary"

    def folder(self, base: Path) -> Path:
        """Where the translator lies."""
        return base / "translators" / f"{self.style}-{self.name.replace(', ', '-').replace(' ', '-')}"


@dataclass
class Figures:
    """A way's figures by epoch. Mutable: each epoch adds to it."""

    l2: list[float] = field(default_factory=list)
    pixels: list[float] = field(default_factory=list)
    feedback: list[float | None] = field(default_factory=list)
    seconds: float = 0.0


def check_settings(folder: Path, options: argparse.Namespace) -> None:
    """End the program where the folder is of other settings than these."""
    path, settings = folder / "settings.json", {name: getattr(options, name) for name in SETTINGS}
    if path.exists() and json.loads(path.read_text()) != settings:
        raise SystemExit(f"{path}: {path.read_text()} expected {json.dumps(settings)}; name another --folder")
    path.write_text(json.dumps(settings) + "\n")


def faces(num: int, seed: int, style: str) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (n, 64, 64, 3) uint8 and exact masks (n, 64, 64) of the demo's faces."""
    from pipeline import embedded

    return embedded.photographs(embedded.photograph_latents(range(num), seed), style)


def write_dataset(path: Path, images: np.ndarray, masks: np.ndarray) -> None:
    """A dataset of all these images with exact labels."""
    import fstore
    from fstore import format as fmt
    from pipeline.embedded.face import CLASSES

    classes = tuple(fmt.ClassInfo(label, name, color) for label, (name, color) in enumerate(CLASSES))
    meta = fmt.DatasetMeta(images.shape[1:3], classes, latent_size=1)
    writer = fstore.create_dataset(path, meta, num_images=len(images))
    for task in writer.pending_tasks():
        part = slice(writer.task_images(task).start, writer.task_images(task).stop)
        arrays = {
            spec.name: np.zeros((len(images[part]), *spec.shape[1:]), spec.dtype)
            for spec in fmt.dataset_arrays(meta, len(images))
        }
        writer.write_task(task, {**arrays, "images": images[part], "labels": masks[part]})
    writer.close()
    fstore.set_kept(path, np.ones(len(images), bool), "1", 0.0)


def write_inputs(base: Path, num: int, num_tested: int) -> None:
    """``source.zarr``; of each style, pictures of the same and of other faces; ``photographs`` at dusk."""
    from pipeline.demo.photographs import write_photographs

    written = base / "inputs-written"
    if written.exists():
        return
    write_dataset(base / "source.zarr", *faces(num, 0, "plain"))
    write_dataset(base / "target.zarr", *faces(num, OTHER_FACES, IMAGES))
    for style, paired in product((IMAGES, MASKS), (True, False)):
        write_photographs(target_folder(base, style, paired), num, style, 0 if paired else OTHER_FACES)
    write_photographs(base / "photographs", num_tested, IMAGES, PHOTOGRAPHS)
    written.touch()


def target_folder(base: Path, style: str, paired: bool) -> Path:
    """The pictures of a target."""
    return base / f"{style}-{'paired' if paired else 'unpaired'}"


def train(base: Path, way: Way, num_new: int, settings: dict[str, Any]) -> Figures:
    """Train a translator, and measure it on pairs of new faces after each epoch, or read what was found."""
    import shutil

    import torch

    known = way.folder(base).with_suffix(".json")
    if known.exists():
        return Figures(**json.loads(known.read_text()))
    shutil.rmtree(way.folder(base), ignore_errors=True)  # of a run that was stopped: its figures are lost

    from pipeline.settings.schema import Config, TranslateConfig
    from pipeline.translate.training import run

    options = TranslateConfig(
        source=str(base / "source.zarr"),
        target=str(target_folder(base, way.style, way.paired) / "images"),
        paired=way.paired,
        adversary=way.adversary,
        target_crop=0.95,  # faces have one size on both sides
        out=way.folder(base),
        **settings,
    )
    cpu, found = torch.device("cpu"), Figures()
    pairs = [_tensor(faces(num_new, NEW_FACES, style)[0]) for style in ("plain", way.style)]
    job = run.prepare(Config(translate=options), cpu, overwrite=False)
    start = perf_counter()
    run.train(job, cpu, say=lambda line: None, after_epoch=lambda _, learner: add(found, learner, *pairs))
    found.seconds = perf_counter() - start
    known.write_text(json.dumps(asdict(found)) + "\n")
    return found


def _tensor(images: np.ndarray) -> torch.Tensor:
    import torch

    return torch.from_numpy(images).permute(0, 3, 1, 2)  # [N, 3, H, W]


def add(found: Figures, learner: Learner, source: torch.Tensor, target: torch.Tensor) -> None:
    """Measure what the translator makes of ``source``, [N, 3, H, W] uint8, against ``target``."""
    import torch

    from pipeline.models.patch_discriminator import feedback
    from pipeline.translate.folder import FORWARD
    from pipeline.translate.training.learner import OF_TARGET
    from pipeline.translate.training.metrics import pixel_error, squared_error

    with torch.inference_mode():
        made, true = learner.carried(FORWARD, learner.images(source)), learner.images(target)
        found.l2.append(float(squared_error(made, true).mean()))
        found.pixels.append(float(pixel_error(made, true).mean()))
        seen = float(feedback(learner.judged(OF_TARGET, made)).mean()) if learner.discriminators else None
        found.feedback.append(seen)


def shown_epochs(num: int) -> list[int]:
    """Places of the epochs that a table shows: the first, a quarter, half, the last."""
    return sorted({0, num // 4, num // 2, num - 1})


def learning_rows(style: str, figures: dict[Way, Figures], num_new: int) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the first table, of one style; the source as it is in the first row."""
    source, target = (faces(num_new, NEW_FACES, each)[0] / 255 for each in ("plain", style))
    of_style = {way: found for way, found in figures.items() if way.style == style}
    shown = shown_epochs(len(next(iter(of_style.values())).l2))
    columns = ["to " + style, *(f"L2, epoch {i + 1}" for i in shown), "pixels"]
    columns += [*(f"feedback, {i + 1}" for i in shown), "seconds"]
    copied = f"{np.mean((source - target) ** 2):.4f}"
    pixels = f"{255 * np.abs(source - target).mean():.1f}"
    rows = [["the source as it is", *[copied] * len(shown), pixels, *["-"] * len(shown), "-"]]
    for way, found in of_style.items():
        heard = [found.feedback[i] for i in shown]
        rows.append(
            [
                way.name,
                *(f"{found.l2[i]:.4f}" for i in shown),
                f"{found.pixels[-1]:.1f}",
                *("-" if value is None else f"{value:.3f}" for value in heard),
                f"{found.seconds:.0f}",
            ]
        )
    return columns, rows


def answer(figures: dict[Way, Figures]) -> list[str]:
    """Whether no adversary is nearer to the partner, for each style and kind of sides, in a line each."""
    lines = []
    for style, paired in product((IMAGES, MASKS), (False, True)):
        with_one, without = (figures[Way(style, paired, adversary)].l2[-1] for adversary in (True, False))
        better = "without" if without < with_one else "with"
        sides = "paired" if paired else "unpaired"
        lines.append(f"{style}, {sides}: L2 {with_one:.4f} with, {without:.4f} without: {better} is nearer")
    return lines


def segmenter_rows(base: Path, figures: dict[Way, Figures], epochs: int, resolution: int) -> list[list[str]]:
    """Rows of the second table: what a segmenter learns from, and its mIoU on photographs at dusk."""
    import pipeline

    sources = {"the source as it is": base / "source.zarr"}
    for way in figures:
        if way.style == IMAGES:
            store = base / "translated" / f"{way.folder(base).name}.zarr"
            pipeline.translate_apply(way.folder(base), data=base / "source.zarr", store=store)
            sources[f"translated: {way.name}"] = store
    sources["photographs at dusk (upper bound)"] = base / "target.zarr"
    rows = []
    for number, (name, data) in enumerate(sources.items()):
        out = base / "segmenters" / str(number)
        network = {"backbone": "mobilenet_v3", "resolution": resolution}
        pipeline.segment_train(data=data, out=out, epochs=epochs, **network)
        scores = pipeline.segment_test(
            out,
            images=base / "photographs" / "images",
            annotations=base / "photographs" / "labels",
            out=out.with_suffix(".json"),
        )
        rows.append([name, f"{miou_of(scores):.4f}"])
    return rows


def draw_ways(base: Path, figures: dict[Way, Figures], num: int = 3) -> Path:
    """``ways.png``: images of the source, what each translator to `dusk` makes of them, their partners."""
    from PIL import Image

    import fstore

    stores = [f"translated/{way.folder(base).name}.zarr" for way in figures if way.style == IMAGES]
    columns = [np.asarray(fstore.open(base / name).images[:num]) for name in ("source.zarr", *stores)]
    rows = [np.concatenate(row, axis=1) for row in zip(*columns, faces(num, 0, IMAGES)[0], strict=True)]
    picture = Image.fromarray(np.concatenate(rows))
    picture = picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.NEAREST)
    picture.save(base / "ways.png", optimize=True)
    return base / "ways.png"


def miou_of(scores: dict[str, Any]) -> float:
    """The mean over folds of the mIoU, over classes that occur."""
    return float(scores["miou"])


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Translators between two procedural domains, and segmenters."
    )
    parser.add_argument("--images", type=int, default=300, help="of each side")
    parser.add_argument("--new-faces", type=int, default=64, help="pairs that a translator is measured on")
    parser.add_argument("--photographs", type=int, default=100, help="that a segmenter is tested on")
    parser.add_argument("--epochs", type=int, default=8, help="of a translator")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--upsample", choices=("bilinear", "transposed"), default="transposed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--segmenter-epochs", type=int, default=12)
    parser.add_argument("--resolution", type=int, default=128, help="of a segmenter")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--folder", type=Path, help="where all files go, and stay")
    parser.add_argument("--quick", action="store_true", help="toy sizes")
    options = parser.parse_args(arguments)
    if options.quick:
        options.images, options.new_faces, options.photographs, options.batch_size = 10, 4, 6, 2
        options.epochs, options.width, options.segmenter_epochs = 2, 2, 1
        options.resolution = 32
    from pipeline.machine.device import set_threads
    from pipeline.machine.progress import progress_hidden

    set_threads(options.threads)

    print(machine())
    settings = {name: getattr(options, name) for name in TRANSLATOR_SETTINGS}
    figures: dict[Way, Figures] = {}
    with working_folder(options.folder) as base, progress_hidden():
        check_settings(base, options)
        write_inputs(base, options.images, options.photographs)
        for style, paired, adversary in product((IMAGES, MASKS), (False, True), (True, False)):
            way = Way(style, paired, adversary)
            figures[way] = train(base, way, options.new_faces, settings)
            print(f"{style}, {way.name}: {figures[way].seconds:.0f} s", flush=True)
        title = f"{options.images} images a side, width {options.width}, {options.upsample}, "
        title += f"batches of {options.batch_size}"
        for style in (IMAGES, MASKS):
            print_table(title, *learning_rows(style, figures, options.new_faces))
        print("\n".join(answer(figures)), flush=True)
        with redirect_stdout(StringIO()):  # tables of each class
            rows = segmenter_rows(base, figures, options.segmenter_epochs, options.resolution)
        picture = draw_ways(base, figures)
    title = (
        f"mIoU on {options.photographs} photographs at dusk, mobilenet_v3, {options.resolution} px, "
        f"{options.segmenter_epochs} epochs"
    )
    print_table(title, ["learnt from", "mIoU"], rows)
    if options.folder is not None:
        print(f"{picture}: the source, the translators to {IMAGES}, the exact partners")


if __name__ == "__main__":
    main()
