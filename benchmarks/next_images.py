"""Which images to annotate next: what each way to choose 8 more adds to the mean IoU, on the demo.

    python -m benchmarks.next_images                  # faces with four rare classes (`benchmarks.rare_parts`)
    python -m benchmarks.next_images --parts common   # the demo's own classes, which every face has

For each seed: 8 random latents with exact masks are learnt; the interpreter labels a pool of 160; each way
chooses 8 of it; their exact masks are added, and an interpreter is trained anew on the 16. All ways begin
with the same first round, the same pool and members of the same seeds, so that gains are compared in pairs.
mIoU is that of 80 fresh latents, pooled, against exact masks. *True masks* is no way to choose: it is *rare*
by the pool's exact masks, and says what better predictions could do for it.

``--choose-only`` does not train again: it tells which rare classes the images have, in a tenth of the time.
Five members, 1,000 steps of 64 pixels, all features. The figures of a seed are appended to ``--results``,
where a run that was stopped finds them again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import rare_parts
from benchmarks.annotation_rounds import Faces, Images, ious, predict, train
from benchmarks.measure import machine, print_table
from pipeline.labelling.scores import score_images
from pipeline.stages.sample.diversity import farthest_points, least_certain
from pipeline.stages.sample.rarity import class_pixels, rarest_first

POOL_FACTOR = 20
TEST_SEED = 2**32
FIRST, RANDOM = "(no more images)", "random"
SETTINGS = ("parts", "num", "steps", "members", "test", "choose_only")


@dataclass(frozen=True)
class Known:
    """What a way to choose may look at: the pool's predictions and W, and what is annotated."""

    pool: Images
    first: Images
    labels: NDArray[np.uint8]
    divergence: torch.Tensor
    num_classes: int
    num: int
    """Images to choose."""

    def all(self) -> NDArray[np.int64]:
        """The whole pool."""
        return np.arange(len(self.labels))

    def quarter(self) -> int:
        """A quarter of the pool, from which the second of two ways chooses."""
        return max(self.num, ceil(len(self.labels) / 4))

    def unsure(self, candidates: NDArray[np.int64], num: int, score: str = "top10") -> NDArray[np.int64]:
        """Those of the candidates that the interpreter is least sure of."""
        scores = score_images(self.divergence, score, torch.from_numpy(self.labels)).numpy()
        return candidates[least_certain(scores[candidates], num)]

    def spread(self, candidates: NDArray[np.int64], num: int) -> NDArray[np.int64]:
        """The most spread of the candidates, and from what is annotated."""
        return candidates[farthest_points(self.pool.points[candidates], num, self.first.points)]

    def rare(self, labels: NDArray[np.uint8], num: int) -> NDArray[np.int64]:
        """Those that by these labels show most of the classes annotated least."""
        annotated = class_pixels(self.first.masks, self.num_classes).sum(0)
        return rarest_first(class_pixels(labels, self.num_classes), annotated, num)


def half_rare(known: Known) -> NDArray[np.int64]:
    """Half of them ``rare``, for classes that are known, the others ``uncertain``, for those that are not."""
    rare = known.rare(known.labels, known.num // 2)
    return np.concatenate([rare, known.unsure(np.setdiff1d(known.all(), rare), known.num - len(rare))])


WAYS: dict[str, Callable[[Known], NDArray[np.int64]]] = {
    RANDOM: lambda known: np.arange(known.num),
    "diverse": lambda known: known.spread(known.all(), known.num),
    "uncertain": lambda known: known.unsure(known.all(), known.num),
    "most spread of least sure": lambda known: known.spread(
        known.unsure(known.all(), known.quarter()), known.num
    ),
    "least sure of most spread": lambda known: known.unsure(
        known.spread(known.all(), known.quarter()), known.num
    ),
    "rare": lambda known: known.rare(known.labels, known.num),
    "half rare, half uncertain": half_rare,
    "(rare by true masks)": lambda known: known.rare(known.pool.masks, known.num),
}


def run_seed(seed: int, faces: Faces, test: Images, options: argparse.Namespace) -> dict[str, Any]:
    """By each way to choose: how many of all annotated images show each class, and the IoU of each class."""
    num_classes, num = len(faces.names), options.num
    drawn = faces.draw(seed, num + POOL_FACTOR * num)
    first, pool = drawn[np.arange(num)], drawn[np.arange(num, len(drawn.masks))]
    labeller = train(first, faces, seed, options.steps, options.members)
    known = Known(pool, first, *predict(labeller, pool), num_classes, num)
    outcome = {FIRST: {"shown": images_showing(first, num_classes)}}
    if not options.choose_only:
        outcome[FIRST]["ious"] = ious(labeller, test, num_classes).tolist()
    for name, way in WAYS.items():
        both = first + pool[way(known)]
        outcome[name] = {"shown": images_showing(both, num_classes)}
        if not options.choose_only:
            labeller = train(both, faces, seed, options.steps, options.members)
            outcome[name]["ious"] = ious(labeller, test, num_classes).tolist()
    return outcome


def images_showing(images: Images, num_classes: int) -> list[Any]:
    """How many of the images show each class."""
    return (class_pixels(images.masks, num_classes) > 0).sum(0).tolist()


def outcomes(faces: Faces, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One record a seed: those of the results file, and the missing ones, which are appended to it."""
    path: Path | None = options.results
    settings = [getattr(options, name) for name in SETTINGS]
    lines = path.read_text().splitlines() if path is not None and path.exists() else []
    found = {record["seed"]: record for record in map(json.loads, lines) if record["settings"] == settings}
    test = faces.draw(TEST_SEED, options.test)
    for seed in range(options.seeds):
        if seed not in found:
            start = time.perf_counter()
            found[seed] = {"seed": seed, "settings": settings, **run_seed(seed, faces, test, options)}
            seconds = time.perf_counter() - start
            print(f"seed {seed}: {seconds:.0f} s", file=sys.stderr, flush=True)
            if path is not None:
                with path.open("a") as file:
                    file.write(json.dumps(found[seed]) + "\n")
        yield found[seed]


def mean_and_error(values: NDArray[np.float64]) -> str:
    """Mean over the seeds and its standard error."""
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{values.mean():+.4f} +- {error:.4f}"


def report_choices(records: list[dict[str, Any]], num_common: int) -> None:
    """Which of the rare classes the annotated images have, the first round's included."""
    shown = {name: np.array([r[name]["shown"][num_common:] for r in records]) for name in [FIRST, *WAYS]}
    found = {name: (values > 0).sum(1) for name, values in shown.items()}  # [seeds]
    rows = [
        [
            name,
            f"{found[name].mean():.2f}",
            mean_and_error(found[name] - found[RANDOM]),
            *(f"{v:.1f}" for v in values.mean(0)),
        ]
        for name, values in shown.items()
    ]
    columns = [
        "more images",
        "rare classes",
        "over random",
        *(f"with {name}" for name, *_ in rare_parts.RARE),
    ]
    print_table(
        f"Rare classes that are annotated, of {shown[FIRST].shape[1]}, {len(records)} seeds", columns, rows
    )


def report_ious(records: list[dict[str, Any]], num_common: int) -> None:
    """mIoU, the gain over random in pairs, and the mean over the common and the rare classes alone."""
    found = {
        name: np.array([r[name]["ious"] for r in records], float) for name in [FIRST, *WAYS]
    }  # [seeds, K]
    has_rare = found[FIRST].shape[1] > num_common
    rows = []
    for name, values in found.items():
        gain = np.nanmean(values, 1) - np.nanmean(found[RANDOM], 1)
        row = [name, f"{np.nanmean(values):.4f}", mean_and_error(gain), f"{(gain > 0).sum()}"]
        if has_rare:
            parts = np.split(values, [num_common], axis=1)
            row += [f"{np.nanmean(part):.4f}" for part in parts]
        rows.append(row)
    columns = ["more images", "mIoU", "over random", "seeds better", "common classes", "rare classes"]
    print_table(f"Second round, {len(records)} seeds", columns[: len(rows[0])], rows)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Which choice of the next 8 images raises mIoU most.")
    parser.add_argument("--parts", choices=["rare", "common"], default="rare")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--num", type=int, default=8, help="images of each round, and a 20th of the pool")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--test", type=int, default=80, help="fresh images to measure on")
    parser.add_argument("--choose-only", action="store_true", help="do not train again")
    parser.add_argument("--results", type=Path, help="a file to keep the figures of each seed in")
    parser.add_argument("--quick", action="store_true", help="two seeds of a few steps")
    options = parser.parse_args(arguments)
    if options.quick:
        options.seeds, options.num, options.steps, options.members, options.test = 2, 2, 4, 2, 2
    print(machine())
    faces = Faces(options.parts == "rare")
    records, num_common = list(outcomes(faces, options)), len(rare_parts.names(with_rare=False))
    if options.parts == "rare":
        report_choices(records, num_common)
    if not options.choose_only:
        report_ious(records, num_common)


if __name__ == "__main__":
    main()
