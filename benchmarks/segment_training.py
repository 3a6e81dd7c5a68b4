"""Images a second of ``dgan segment train``, beside a plain loop of torch over the same dataset.

    python -m benchmarks.segment_training

*Plain* is what people write: a ``DataLoader`` over ``fstore.torch_dataset``, ``CrossEntropyLoss``, ``Adam``,
float32, and ``torch.save`` after each epoch; *2 workers* has processes that read ahead. *dgan* is the whole
run of the command, its log, weights and states too. All train the same network for as many steps. Ways take
turns, and a figure is the median of its turns. *Of processor time* counts the seconds of the processor that
the process and its workers took: less hangs on a busy machine. The images are the demo's faces.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.loading import Case as Images
from benchmarks.loading import make_files
from benchmarks.measure import add_to_summary, machine, print_table, seconds_of, working_folder

BATCH = 8
PLAIN = "plain"


@dataclass(frozen=True)
class Case:
    """What is trained: ``num_images`` of ``side`` x ``side``, a pass ``epochs`` times."""

    backbone: str
    side: int
    num_images: int
    epochs: int


def make_dataset(case: Case, folder: Path) -> Path:
    """The demo's faces, all kept."""
    import numpy as np

    import fstore

    make_files(Images("rendered", case.side, case.num_images), folder)
    fstore.set_kept(folder / "dataset.zarr", np.ones(case.num_images, bool), "1", 0.0)
    return folder / "dataset.zarr"


def plain_run(case: Case, data: Path, num_workers: int) -> None:
    """A plain loop, in a folder of its own."""
    import torch
    from torch.utils.data import DataLoader

    import fstore
    from pipeline.segment.networks import build_network
    from pipeline.segment.pictures import normalised

    dataset = fstore.torch_dataset(data)
    loader = DataLoader(dataset, batch_size=BATCH, shuffle=True, drop_last=True, num_workers=num_workers)
    network = build_network("deeplabv3", case.backbone, None, len(dataset.classes)).train()
    adam, criterion = torch.optim.Adam(network.parameters(), lr=1e-3), torch.nn.CrossEntropyLoss()
    with tempfile.TemporaryDirectory() as folder:
        for epoch in range(case.epochs):
            for images, labels in loader:
                adam.zero_grad()
                criterion(network(normalised(images)), labels).backward()
                adam.step()
            torch.save({"model_state_dict": network.state_dict()}, Path(folder, f"epoch_{epoch}.pth"))


def our_run(case: Case, data: Path, precision: str) -> None:
    """The run of ``dgan segment train``, into a folder of its own."""
    import torch

    from pipeline.machine.progress import progress_hidden
    from pipeline.segment.training.run import prepare, train_one
    from pipeline.settings.schema import Config, SegmentConfig

    cpu = torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder, progress_hidden():
        options = SegmentConfig(
            data=str(data),
            backbone=case.backbone,
            epochs=case.epochs,
            batch_size=BATCH,
            precision=precision,
            out=Path(folder, "segmenter"),
        )
        job = prepare(Config(segment=options), cpu, overwrite=False)
        train_one(job, cpu, lambda line: None)


def processor_seconds() -> float:
    """Seconds of the processor that this process and its ended children have taken."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def measure(case: Case, data: Path, repeats: int) -> list[list[str]]:
    """A row a way: medians of the images a second, and of the ratios to the plain loop by turns."""
    ways: dict[str, Callable[[], None]] = {
        PLAIN: partial(plain_run, case, data, 0),
        "plain, 2 workers": partial(plain_run, case, data, 2),
        "dgan, float32": partial(our_run, case, data, "float32"),
        "dgan": partial(our_run, case, data, "auto"),
    }
    if repeats > 1:
        our_run(case, data, "auto")  # what is imported and first touched belongs to none
    wall: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats):
        for name in list(ways) if turn % 2 == 0 else reversed(ways):
            before = processor_seconds()
            wall[name].append(seconds_of(ways[name]))
            processor[name].append(processor_seconds() - before)
    images = case.num_images // BATCH * BATCH * case.epochs
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
    parser = argparse.ArgumentParser(description="Images a second of training a segmenter.")
    parser.add_argument("--backbone", default="mobilenet_v3")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="toy images, one run")
    options = parser.parse_args(arguments)
    if options.quick:
        options.side, options.images, options.epochs, options.repeats = 32, 8, 1, 1
    case = Case(options.backbone, options.side, options.images, options.epochs)
    print(machine())
    with working_folder(None) as folder:
        rows = measure(case, make_dataset(case, folder), options.repeats)
    title = f"{case.backbone}, {case.side} px, {case.epochs} x {case.num_images} images, batches of {BATCH}"
    columns = ["way", "images/s", "/ plain", "of processor time", "/ plain"]
    print_table(title, columns, rows)
    plain, ours = rows[0], rows[-1]
    add_to_summary(
        "training a segmenter, images a second", ours[1], f"{plain[1]} (plain loop)", f"{ours[2]}x"
    )


if __name__ == "__main__":
    main()
