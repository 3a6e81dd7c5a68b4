"""Which rare classes the first 8 images have, and 8 more, where no interpreter is asked: random or diverse.

    python -m benchmarks.first_images

On the demo's faces with four rare classes (`benchmarks.rare_parts`), for each seed from a pool of 160. *Then*
counts the 8 images of a random first round with 8 more. *Z* is the most spread choice by the pixel-normalised
latents themselves, in place of W.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import rare_parts
from benchmarks.measure import machine, print_table
from benchmarks.next_images import POOL_FACTOR, mean_and_error
from pipeline.checkpoints.read import load_generator
from pipeline.embedded import checkpoint_path
from pipeline.models.generator import Generator
from pipeline.stages.sample.diversity import farthest_points

PAIRS = {
    "first: diverse": "first: random",
    "first: diverse, Z": "first: random",
    "then: diverse": "then: random",
}
"""Each choice, and what it is compared with."""


@torch.inference_mode()
def choices(seed: int, num: int, generator: Generator) -> dict[str, NDArray[np.bool_]]:
    """Which of the rare classes each image of a choice has, (n, 4)."""
    latents = rare_parts.draw(seed, num + POOL_FACTOR * num, with_rare=True)
    has = rare_parts.strengths(latents) > rare_parts.GAP[1]
    points = generator.mapping(torch.from_numpy(latents)).numpy()
    norms = np.sqrt(np.square(latents).mean(axis=1, keepdims=True))
    first, pool = np.arange(num), np.arange(num, len(latents))
    spread = pool[farthest_points(points[pool], num, points[first])]
    return {
        "first: random": has[first],
        "first: diverse": has[pool[farthest_points(points[pool], num)]],
        "first: diverse, Z": has[pool[farthest_points((latents / norms)[pool], num)]],
        "then: random": has[: 2 * num],
        "then: diverse": has[np.concatenate([first, spread])],
    }


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Which rare classes the first 8 images have.")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--num", type=int, default=8, help="images of each round, and a 20th of the pool")
    parser.add_argument("--quick", action="store_true", help="three seeds")
    options = parser.parse_args(arguments)
    print(machine())
    generator = load_generator(checkpoint_path()).generator
    seeds = range(3 if options.quick else options.seeds)
    runs = [choices(seed, options.num, generator) for seed in seeds]
    rows = []
    for name in runs[0]:
        classes, images = (np.array([f(run[name]) for run in runs]) for f in (num_classes, num_images))
        over = np.array([num_classes(run[name]) - num_classes(run[PAIRS.get(name, name)]) for run in runs])
        rows.append([name, f"{classes.mean():.2f}", mean_and_error(over), f"{images.mean():.2f}"])
    columns = ["images", "rare classes", "over random", "images with one"]
    print_table(f"Rare classes that are annotated, of 4, {len(runs)} seeds", columns, rows)


def num_classes(has: NDArray[np.bool_]) -> int:
    """Rare classes that a choice has."""
    return int(has.any(0).sum())


def num_images(has: NDArray[np.bool_]) -> int:
    """Images of a choice that have a rare class."""
    return int(has.any(1).sum())


if __name__ == "__main__":
    main()
