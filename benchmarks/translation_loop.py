"""Images a second of ``dgan translate train``, beside a plain loop of torch over the same pictures.

    python -m benchmarks.translation_loop

*Plain* is what people write: a ``DataLoader`` a side that crops with Pillow, each loss from a pass of its
own, binary cross entropy, two optimisers, ``torch.save`` after each epoch. *dgan* is the whole run of the
command: measures, samples, log, weights and states too; *steps* are its steps alone. All train the same
networks for as many steps, an image of either side counting as one. Ways take turns, and a figure is the
median of its turns. *Of processor time* counts the seconds of the processor that the process took: less hangs
on a busy machine. The pictures are the demo's faces, plain and at dusk.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.measure import add_to_summary, machine, print_table, seconds_of, working_folder
from benchmarks.segment_training import processor_seconds

if TYPE_CHECKING:
    import torch

    from pipeline.translate.training.job import TranslateJob

PLAIN = "plain"
SIDE = 64


@dataclass(frozen=True)
class Case:
    """What is trained: ``num_images`` of each side, a pass ``epochs`` times."""

    num_images: int
    epochs: int
    width: int
    batch_size: int
    upsample: str

    @property
    def num_steps(self) -> int:
        """Of the whole training; all images fill batches."""
        return self.num_images // self.batch_size * self.epochs


def write_sides(folder: Path, num_images: int) -> None:
    """``plain/images`` and ``dusk/images`` of different faces."""
    from pipeline.demo.photographs import write_photographs
    from pipeline.machine.progress import progress_hidden

    with progress_hidden():
        for seed, style in enumerate(("plain", "dusk")):
            write_photographs(folder / style, num_images, style, seed)


class Crops:
    """The pictures of a folder, each a random square of at least ``least`` of it, in [-1, 1]."""

    def __init__(self, folder: Path, least: float) -> None:
        self.paths, self.least = sorted(folder.iterdir()), least

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        import numpy as np
        import torch
        from PIL import Image

        share, across, down = torch.rand(3).tolist()
        with Image.open(self.paths[index]) as image:
            side = (1 - (1 - self.least) * share) * min(image.size)
            left, top = across * (image.width - side), down * (image.height - side)
            box = (left, top, min(left + side, image.width), min(top + side, image.height))
            crop = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)
        return torch.from_numpy(np.array(crop)).permute(2, 0, 1).float() / 127.5 - 1  # [3, H, W]


def plain_run(case: Case, folder: Path) -> None:
    """A plain loop, which saves its generators into a folder of its own."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss
    from torch.utils.data import DataLoader

    from pipeline.models.patch_discriminator import PatchDiscriminator, discriminator_halvings
    from pipeline.models.unet import UNet, generator_halvings

    def entropy(logits: torch.Tensor, real: float) -> torch.Tensor:
        return binary_cross_entropy_with_logits(logits, torch.full_like(logits, real))

    def adam(*networks: torch.nn.Module) -> torch.optim.Adam:
        return torch.optim.Adam(chain(*(n.parameters() for n in networks)), lr=2e-4, betas=(0.5, 0.999))

    g_ab, g_ba = (UNet(case.width, generator_halvings(SIDE), case.upsample) for _ in range(2))
    d_a, d_b = (PatchDiscriminator(case.width, discriminator_halvings(SIDE)) for _ in range(2))
    makers, judges = adam(g_ab, g_ba), adam(d_a, d_b)
    sides: list[Any] = [
        Crops(folder / name / "images", least) for name, least in (("plain", 0.95), ("dusk", 0.55))
    ]
    loaders = [DataLoader(side, batch_size=case.batch_size, shuffle=True, drop_last=True) for side in sides]
    with tempfile.TemporaryDirectory() as out:
        for _ in range(case.epochs):
            for a, b in zip(*loaders, strict=True):
                made_b, made_a = g_ab(a), g_ba(b)
                of_b, of_a = d_b(made_b), d_a(made_a)
                loss = entropy(of_b, 1.0) + entropy(of_a, 1.0)
                loss = loss + 10 * (l1_loss(g_ba(made_b), a) + l1_loss(g_ab(made_a), b))
                loss = loss + 5 * (l1_loss(g_ab(b), b) + l1_loss(g_ba(a), a))
                makers.zero_grad()
                loss.backward()
                makers.step()
                judges.zero_grad()
                for judge, real, made in ((d_a, a, made_a), (d_b, b, made_b)):
                    half = entropy(judge(real), 1.0) + entropy(judge(made.detach()), 0.0)
                    (0.5 * half).backward()
                judges.step()
            torch.save([g_ab.state_dict(), g_ba.state_dict()], Path(out, "generators.pth"))


def prepared(case: Case, folder: Path, out: Path) -> TranslateJob:
    """Our run, into ``out``; it learns from all pictures."""
    import torch

    from pipeline.settings.schema import Config, TranslateConfig
    from pipeline.translate.training.run import prepare

    options = TranslateConfig(
        source=str(folder / "plain" / "images"),
        target=str(folder / "dusk" / "images"),
        epochs=case.epochs,
        batch_size=case.batch_size,
        width=case.width,
        upsample=case.upsample,
        held_out=0,
        out=out,
    )
    return prepare(Config(translate=options), torch.device("cpu"), overwrite=False)


def our_run(case: Case, folder: Path) -> None:
    """The run of ``dgan translate train``, into a folder of its own."""
    import torch

    from pipeline.machine.progress import progress_hidden
    from pipeline.translate.training.run import train

    with tempfile.TemporaryDirectory() as made, progress_hidden():
        train(prepared(case, folder, Path(made, "out")), torch.device("cpu"), say=lambda line: None)


def our_steps(case: Case, folder: Path) -> None:
    """The steps of that run, with its batches, and nothing else."""
    import torch

    job = prepared(case, folder, folder / "never made")
    learner = job.make_learner(torch.device("cpu"))
    for epoch in range(case.epochs):
        for source, target in job.batches.batches(epoch):
            learner.step(source, target)


def measure(case: Case, folder: Path, repeats: int) -> list[list[str]]:
    """A row a way: medians of the images a second, and of the ratios to the plain loop by turns."""
    ways: dict[str, Callable[[], None]] = {
        PLAIN: partial(plain_run, case, folder),
        "dgan, steps": partial(our_steps, case, folder),
        "dgan": partial(our_run, case, folder),
    }
    if repeats > 1:
        our_run(case, folder)  # what is imported and first touched belongs to none
    wall: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats):
        for name in list(ways) if turn % 2 == 0 else reversed(ways):
            before = processor_seconds()
            wall[name].append(seconds_of(ways[name]))
            processor[name].append(processor_seconds() - before)
    images = 2 * case.num_steps * case.batch_size
    rows = []
    for name in ways:
        ratios = [
            f"{median(plain / own for plain, own in zip(spans[PLAIN], spans[name], strict=True)):.2f}"
            for spans in (wall, processor)
        ]
        rates = [f"{images / median(spans[name]):.1f}" for spans in (wall, processor)]
        rows.append([name, rates[0], ratios[0], rates[1], ratios[1]])
    return rows


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Images a second of training a translator.")
    parser.add_argument("--images", type=int, default=64, help="of each side")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--upsample", default="bilinear", choices=("bilinear", "transposed"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="toy sizes, one run")
    options = parser.parse_args(arguments)
    if options.quick:
        options.images, options.width, options.batch_size, options.repeats = 4, 2, 2, 1
    case = Case(options.images, options.epochs, options.width, options.batch_size, options.upsample)
    print(machine())
    with working_folder(None) as folder:
        write_sides(folder, case.num_images)
        rows = measure(case, folder, options.repeats)
    steps = f"{case.num_steps} steps of 2 x {case.batch_size} images"
    title = f"width {case.width}, {case.upsample}, {SIDE} px, {steps}"
    print_table(title, ["way", "images/s", "/ plain", "of processor time", "/ plain"], rows)
    plain, ours = rows[0], rows[-1]
    add_to_summary(
        "training a translator, images a second", ours[1], f"{plain[1]} (plain loop)", f"{ours[2]}x"
    )


if __name__ == "__main__":
    main()
