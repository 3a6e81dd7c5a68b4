"""Which images to annotate next: what each way to choose 8 more adds to the mean IoU, on the demo.

    python -m benchmarks.next_images                  # faces with four rare classes (`benchmarks.rare_parts`)
    python -m benchmarks.next_images --parts common   # the demo's own classes, which every face has

For each seed: 8 random latents with exact masks are learnt; the interpreter labels a pool of 160; each way
chooses 8 of it; their exact masks are added, and an interpreter is trained anew on the 16. All ways begin
with the same first round and the same pool, and members of the same seeds, so that gains are compared in
pairs. mIoU is that of 120 fresh latents, pooled, against exact masks. *True masks* is no way to choose: it is
*rare* by the pool's exact masks, and says how much better predictions could do.

Five members, 1,000 steps of 64 pixels by the product's sampler, learner and rates, all features. Results of a
seed are appended to ``--results``, where a run that was stopped finds them again.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from math import ceil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import rare_parts
from benchmarks.measure import machine, print_table
from fstore.format import TILE, build_layers, class_counts
from fstore.interpolate import concatenate_pixels
from fstore.sampler import StratifiedChunkSampler
from pipeline.checkpoints.read import load_generator
from pipeline.embedded import checkpoint_path
from pipeline.labelling.confusion import confusion
from pipeline.labelling.labeller import ImageLabeller
from pipeline.labelling.scores import score_images
from pipeline.models.folded import FoldedEnsemble
from pipeline.models.interpreter import InterpreterEnsemble
from pipeline.rendering.renderer import Renderer, RenderSettings
from pipeline.settings.schema import TrainConfig
from pipeline.stages.sample.diversity import farthest_points, least_certain
from pipeline.stages.sample.rarity import class_pixels, rarest_first
from pipeline.stages.train.learner import Learner
from pipeline.stages.train.schedule import rate_shares

NUM = 8  # images of the first round, and of the second
POOL = 20 * NUM
TEST_SEED = 2**32
GRID = (64, 64)
RANDOM = "random"


@dataclass(frozen=True)
class Images:
    """Faces: Z and W (n, 64), their maps by layer [h, w, c] float16, and exact labels (n, 64, 64)."""

    latents: NDArray[np.float32]
    points: NDArray[np.float32]
    maps: list[list[torch.Tensor]]
    masks: NDArray[np.uint8]

    def __getitem__(self, chosen: NDArray[np.int64]) -> Images:
        maps = [self.maps[i] for i in chosen]
        return Images(self.latents[chosen], self.points[chosen], maps, self.masks[chosen])

    def __add__(self, other: Images) -> Images:
        return Images(
            np.concatenate([self.latents, other.latents]),
            np.concatenate([self.points, other.points]),
            self.maps + other.maps,
            np.concatenate([self.masks, other.masks]),
        )


class Faces:
    """Renders the demo's faces, with rare classes or without."""

    def __init__(self, with_rare: bool) -> None:
        self.with_rare = with_rare
        self.names = rare_parts.names(with_rare)
        generator = load_generator(checkpoint_path()).generator
        settings = RenderSettings(1.0, 0, "const", 0, GRID, (0, GRID[0]))
        average = np.zeros(generator.latent_size, np.float32)  # truncation 1 leaves W as it is
        self.renderer = Renderer(generator, settings, average, torch.device("cpu"))
        self.layers = build_layers([(la.name, la.resolution, la.channels) for la in generator.layers], GRID)

    @torch.inference_mode()
    def draw(self, seed: int, num: int) -> Images:
        """``num`` faces of a seed."""
        latents = rare_parts.draw(seed, num, self.with_rare)
        points = self.renderer.generator.mapping(torch.from_numpy(latents)).numpy()
        maps = []
        for latent in latents:
            features = self.renderer.render(latent[None], "z", [0]).features
            maps.append([values[0].permute(1, 2, 0).half().contiguous() for values in features])
        return Images(latents, points, maps, rare_parts.masks(latents, self.with_rare))


class HeldImages:
    """What the sampler asks of a store, of images whose features are held in memory."""

    def __init__(self, images: Images, faces: Faces) -> None:
        rows, columns = (torch.from_numpy(axis.ravel()) for axis in np.indices(GRID))
        features = [concatenate_pixels(m, faces.layers, GRID, rows, columns) for m in images.maps]
        self._features = torch.stack(features).unflatten(1, GRID)  # [n, H, W, C]
        self.shape = tuple(self._features.shape)
        self.class_counts = np.stack([class_counts(mask, len(faces.names)) for mask in images.masks])
        self.unit_tiles = (GRID[0] // TILE, GRID[1] // TILE)
        self.read_unit_bytes = self._features[0].numel() * 2
        self.meta = SimpleNamespace(ignore=None)
        self.read_masks = lambda positions: images.masks[list(positions)]

    def pixels(self, images: Any, rows: Any, columns: Any) -> torch.Tensor:
        """Features (n, C) float16."""
        return self._features[images, rows, columns]


def train(images: Images, faces: Faces, seed: int, steps: int, members: int) -> ImageLabeller:
    """An ensemble that has learnt these images, as what labels with it."""
    store, config = HeldImages(images, faces), TrainConfig()
    seeds = range(seed * members, (seed + 1) * members)
    ensemble = InterpreterEnsemble(len(faces.names), store.shape[3], seeds=seeds)
    learner = Learner(ensemble, config.learning_rate)
    sampler = StratifiedChunkSampler(
        store,
        batch_size=config.batch_size,
        members=members,
        seed=seed,
        draws_per_epoch=steps * config.batch_size,
    )
    rates = rate_shares(steps, config.falling * steps, steps)
    for batch, rate in zip(islice(sampler.epoch(0), steps), rates, strict=True):
        learner.step(batch, rate)
    folded = FoldedEnsemble(ensemble.eval(), torch.float32)
    return ImageLabeller(folded, faces.layers, GRID, (0, GRID[0]))


def predict(labeller: ImageLabeller, images: Images) -> tuple[NDArray[np.uint8], torch.Tensor]:
    """Labels (n, 64, 64) and divergence [n, 64, 64] float32."""
    found = [labeller.label([m.float().permute(2, 0, 1) for m in maps]) for maps in images.maps]
    return np.stack([label.numpy() for label, _ in found]), torch.stack([d for _, d in found])


def ious(labeller: ImageLabeller, test: Images, num_classes: int) -> NDArray[np.float64]:
    """(K,) intersection over union of each class over all images, NaN where it is in neither."""
    labels, _ = predict(labeller, test)
    matrix = confusion(
        torch.from_numpy(test.masks).flatten(), torch.from_numpy(labels).flatten(), num_classes
    ).double()
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    return (matrix.diagonal() / union).numpy()


@dataclass(frozen=True)
class Known:
    """What a way to choose may look at: the pool's predictions and W, and what is annotated."""

    pool: Images
    first: Images
    labels: NDArray[np.uint8]
    divergence: torch.Tensor
    num_classes: int

    def score(self, name: str) -> NDArray[np.float64]:
        return score_images(self.divergence, name, torch.from_numpy(self.labels)).numpy()

    def annotated(self) -> NDArray[np.float64]:
        return class_pixels(self.first.masks, self.num_classes).sum(0)

    def spread(self, candidates: NDArray[np.int64], num: int) -> NDArray[np.int64]:
        return candidates[farthest_points(self.pool.points[candidates], num, self.first.points)]

    def quarter(self) -> int:
        return max(NUM, ceil(len(self.pool.points) / 4))


def uncertain_among_diverse(known: Known) -> NDArray[np.int64]:
    spread = known.spread(np.arange(len(known.pool.points)), known.quarter())
    return spread[least_certain(known.score("top10")[spread], NUM)]


def rare(known: Known) -> NDArray[np.int64]:
    return rarest_first(class_pixels(known.labels, known.num_classes), known.annotated(), NUM)


def rare_doubt(known: Known) -> NDArray[np.int64]:
    """As ``rare``, but a pixel counts as much as the members differ on it."""
    doubt = class_pixels(known.labels, known.num_classes, known.divergence.numpy())
    return rarest_first(doubt, known.annotated(), NUM)


def true_masks(known: Known) -> NDArray[np.int64]:
    return rarest_first(class_pixels(known.pool.masks, known.num_classes), known.annotated(), NUM)


WAYS: dict[str, Callable[[Known], NDArray[np.int64]]] = {
    RANDOM: lambda known: np.arange(NUM),
    "diverse": lambda known: known.spread(np.arange(len(known.pool.points)), NUM),
    "uncertain (top10)": lambda known: least_certain(known.score("top10"), NUM),
    "uncertain (class-mean)": lambda known: least_certain(known.score("class-mean"), NUM),
    "most spread of the least certain": lambda known: known.spread(
        least_certain(known.score("top10"), known.quarter()), NUM
    ),
    "least certain of the most spread": uncertain_among_diverse,
    "rare": rare,
    "rare, weighted by doubt": rare_doubt,
    "(true masks)": true_masks,
}


def run_seed(seed: int, faces: Faces, test: Images, options: argparse.Namespace) -> dict[str, Any]:
    """IoUs of the first round, and of the second by each way to choose."""
    num_classes = len(faces.names)
    drawn = faces.draw(seed, NUM + options.pool)
    first, pool = drawn[np.arange(NUM)], drawn[np.arange(NUM, NUM + options.pool)]
    labeller = train(first, faces, seed, options.steps, options.members)
    known = Known(pool, first, *predict(labeller, pool), num_classes)
    outcome: dict[str, Any] = {"seed": seed, "first": ious(labeller, test, num_classes).tolist()}
    for name, way in WAYS.items():
        chosen = pool[way(known)]
        both = train(first + chosen, faces, seed, options.steps, options.members)
        outcome[name] = ious(both, test, num_classes).tolist()
    return outcome


def outcomes(faces: Faces, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One record a seed: those of the results file, and the missing ones, which are appended to it."""
    path: Path | None = options.results
    lines = path.read_text().splitlines() if path is not None and path.exists() else []
    found = {record["seed"]: record for record in map(json.loads, lines)}
    test = faces.draw(TEST_SEED, options.test)
    for seed in range(options.seeds):
        if seed not in found:
            found[seed] = run_seed(seed, faces, test, options)
            if path is not None:
                with path.open("a") as file:
                    file.write(json.dumps(found[seed]) + "\n")
        reached = (f"{name} {np.nanmean(found[seed][name]):.4f}" for name in ["first", *WAYS])
        print(f"seed {seed}: {', '.join(reached)}", file=sys.stderr, flush=True)
        yield found[seed]


def mean_and_error(values: NDArray[np.float64]) -> str:
    """Mean over the seeds and its standard error."""
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{values.mean():+.4f} +- {error:.4f}"


def report(records: list[dict[str, Any]], names: tuple[str, ...], num_common: int) -> None:
    """The table: mIoU, the gain over random in pairs, and the same of the rare classes alone."""
    found = {name: np.array([r[name] for r in records], float) for name in ["first", *WAYS]}  # [seeds, K]
    overall = {name: np.nanmean(values, 1) for name, values in found.items()}
    rows = []
    for name in found:
        gain = overall[name] - overall[RANDOM]
        row = [name, f"{overall[name].mean():.4f}", mean_and_error(gain), f"{(gain > 0).sum()}"]
        if len(names) > num_common:
            scarce = {which: np.nanmean(found[which][:, num_common:], 1) for which in (name, RANDOM)}
            row += [f"{scarce[name].mean():.4f}", mean_and_error(scarce[name] - scarce[RANDOM])]
        rows.append(row)
    columns = ["8 more images", "mIoU", "over random", "seeds better", "rare classes", "over random"]
    print_table(f"Second round, {len(records)} seeds, {len(names)} classes", columns[: len(rows[0])], rows)
    with warnings.catch_warnings():  # a class may be in no image of a small test
        warnings.simplefilter("ignore", RuntimeWarning)
        means = {name: np.nanmean(values, 0) for name, values in found.items()}
    table = [[c, *(f"{values[k]:.3f}" for values in means.values())] for k, c in enumerate(names)]
    print_table("IoU of each class, mean over the seeds", ["class", *found], table)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Which choice of the next 8 images raises mIoU most.")
    parser.add_argument("--parts", choices=["rare", "common"], default="rare")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--pool", type=int, default=POOL)
    parser.add_argument("--test", type=int, default=120, help="fresh images to measure on")
    parser.add_argument("--results", type=Path, help="a file to keep the figures of each seed in")
    parser.add_argument("--quick", action="store_true", help="two seeds of a few steps")
    options = parser.parse_args(arguments)
    if options.quick:
        options.seeds, options.steps, options.members, options.pool, options.test = 2, 12, 2, 12, 4
    print(machine())
    faces = Faces(options.parts == "rare")
    records = list(outcomes(faces, options))
    report(records, faces.names, len(rare_parts.names(with_rare=False)))


if __name__ == "__main__":
    main()
