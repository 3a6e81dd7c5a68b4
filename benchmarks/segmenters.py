"""Images a second of segmentation networks: memory formats and types beside one another, training and not.

    python -m benchmarks.segmenters

A training step is forward, cross entropy, backward and Adam, of random images and labels that are in memory.
Ways run in turns, one step each, so that what else the machine does hits all of them; a figure is the median
of its turns. *Chosen* marks what `dgan segment train` takes by itself (`pipeline.segment.networks`).
*Of processor time* counts the seconds of this process alone: less hangs on a busy machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.measure import machine, print_table

if TYPE_CHECKING:
    import torch

NUM_CLASSES = 8
FORMATS = ("contiguous", "channels_last")
TYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class Case:
    """A network, and what goes through it at once."""

    backbone: str
    side: int
    batch_size: int


CASES = (Case("mobilenet_v3", 64, 8), Case("resnet101", 256, 2))
QUICK = (Case("mobilenet_v3", 32, 2),)
Way = tuple[str, str]


def make_step(
    case: Case, way: Way, device: torch.device, *, training: bool
) -> tuple[Callable[[], object], str]:
    """One step of a way, and a mark where the way is the one that is chosen by itself."""
    import torch
    from torch.nn import functional as F

    from pipeline.machine.training_format import training_format
    from pipeline.segment.networks import build_network

    memory_format = torch.contiguous_format if way[0] == "contiguous" else torch.channels_last
    cast = None if way[1] == "float32" else torch.bfloat16
    torch.manual_seed(0)
    network: Any = build_network("deeplabv3", case.backbone, None, NUM_CLASSES).train(training)
    network = network.to(device=device, memory_format=memory_format)
    images = torch.randn(case.batch_size, 3, case.side, case.side, device=device)
    images = images.contiguous(memory_format=memory_format)
    labels = torch.randint(NUM_CLASSES, (case.batch_size, case.side, case.side), device=device)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)

    def casting() -> AbstractContextManager[object]:
        return nullcontext() if cast is None else torch.autocast(device.type, cast)

    def train() -> None:
        optimiser.zero_grad(set_to_none=True)
        with casting():
            outputs = network(images)
        F.cross_entropy(outputs.float(), labels).backward()
        optimiser.step()
        _wait(device)

    def predict() -> None:
        with torch.inference_mode(), casting():
            network(images)
        _wait(device)

    chosen = training_format(device, "auto") == (memory_format, cast)
    return train if training else predict, "chosen" if chosen else ""


def _wait(device: torch.device) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(case: Case, device: torch.device, repeats: int, *, training: bool) -> None:
    """The table of a case: every way, in turns."""
    ways = {
        (name, kind): make_step(case, (name, kind), device, training=training)
        for name in FORMATS
        for kind in TYPES
    }
    for step, _ in ways.values():
        step()  # what is made once: moments, and the plans of the convolutions
    wall: dict[Way, list[float]] = {way: [] for way in ways}
    busy: dict[Way, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, (step, _) in ways.items():
            start, before = time.perf_counter(), time.process_time()
            step()
            busy[way].append(time.process_time() - before)
            wall[way].append(time.perf_counter() - start)
    first = next(iter(ways))
    rows = []
    for way, (_, mark) in ways.items():
        rates = sorted(case.batch_size / seconds for seconds in wall[way])
        rows.append(
            [
                ", ".join(way),
                f"{median(rates):.2f}",
                f"{rates[0]:.2f} to {rates[-1]:.2f}",
                f"{median(wall[first]) / median(wall[way]):.2f}",
                f"{case.batch_size / median(busy[way]):.2f}",
                mark,
            ]
        )
    what = "training" if training else "inference"
    title = f"{case.backbone}, {case.side} px, batch {case.batch_size}: {what}, median of {repeats} turns"
    columns = ["way", "images/s", "range", "against the first", "of processor time", ""]
    print_table(title, columns, rows)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Images a second of segmentation networks.")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="of torch (default: torch's own)")
    parser.add_argument("--quick", action="store_true", help="one small case, one turn")
    options = parser.parse_args(arguments)
    from pipeline.machine.device import target_device

    device = target_device(options.device, options.threads)
    print(machine())
    for case in QUICK if options.quick else CASES:
        for training in (True, False):
            measure(case, device, 1 if options.quick else options.repeats, training=training)


if __name__ == "__main__":
    main()
