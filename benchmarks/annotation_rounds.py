"""Rounds of annotation on the demo, in memory: faces with exact masks, an ensemble that learns them, its IoU.

For `benchmarks.next_images`. It trains with the product's sampler, learner and rates, and labels with its
labeller; it chooses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import rare_parts
from fstore.format import TILE, build_layers, class_counts
from fstore.interpolate import concatenate_pixels
from fstore.sampler import StratifiedChunkSampler
from pipeline.checkpoints.read import load_generator
from pipeline.embedded import checkpoint_path
from pipeline.labelling.confusion import confusion
from pipeline.labelling.labeller import ImageLabeller
from pipeline.models.folded import FoldedEnsemble
from pipeline.models.interpreter import InterpreterEnsemble
from pipeline.rendering.renderer import Renderer, RenderSettings
from pipeline.settings.schema import TrainConfig
from pipeline.stages.train.learner import Learner
from pipeline.stages.train.schedule import rate_shares

GRID = (64, 64)


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
