"""Images with labels, divergence and score, a render batch at a time, all of it on the device.

What crosses to the host of an image is its uint8 picture, its labels, its float16 divergence and one number.
``LabelledImages.batch`` starts the work, the copies to the host included, and ``host_arrays`` waits for it:
a caller who starts a batch before it fetches the one before keeps a GPU busy. It knows generators and
interpreters, and no stores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fstore.format import LayerInfo
from pipeline.device import download
from pipeline.factored import ImageLabeller
from pipeline.labelling import divergence_to_float16, score_images
from pipeline.latents import seeded_latents
from pipeline.models.folded import FoldedEnsemble
from pipeline.models.generator import Rendered
from pipeline.models.interpreter import InterpreterEnsemble
from pipeline.rendering import Renderer

SAMPLED_SPACE = "z"  # new images come from Z, whatever space the annotated latents were given in


@dataclass(frozen=True)
class LabelledBatch:
    """n images in host memory, once ``ready`` has happened; and their latents (n, D) float32."""

    pictures: Tensor  # [n, H, W, 3] uint8
    labels: Tensor  # [n, H, W] uint8, int64 beyond 256 classes
    divergence: Tensor  # [n, H, W] float16, nats
    scores: Tensor  # [n] float64
    latents: np.ndarray
    ready: torch.cuda.Event | None
    """On a GPU: recorded after the copies to the host."""

    def host_arrays(self) -> dict[str, np.ndarray]:
        """By the names of a dataset's arrays; waits until the device has computed them."""
        if self.ready is not None:
            self.ready.synchronize()
        return {
            "images": self.pictures.numpy(),
            "labels": self.labels.numpy(),
            "divergence": self.divergence.numpy(),
            "uncertainty": self.scores.numpy().astype(np.float32),
            "latents": self.latents,
        }


class LabelledImages:
    """The source of a dataset's images: image i follows from (seed, i), batch by batch of a fixed size."""

    def __init__(
        self,
        renderer: Renderer,
        ensemble: InterpreterEnsemble,
        layers: Sequence[LayerInfo],
        *,
        seed: int,
        score: str,
        precision: torch.dtype,
        tile_rows: int | None = None,
    ) -> None:
        """``ensemble`` in evaluation mode, moved to the renderer's device; ``layers`` as it learnt them."""
        self._renderer, self._seed, self._score = renderer, seed, score
        self._layers, self._tile_rows = tuple(layers), tile_rows
        self._ensemble = ensemble.to(renderer.device)
        self._labeller = self._make_labeller(precision)

    def _make_labeller(self, precision: torch.dtype) -> ImageLabeller:
        """One with these products, for the renderer's grid and crop."""
        settings = self._renderer.settings
        return ImageLabeller(
            FoldedEnsemble(self._ensemble, precision),
            self._layers,
            settings.grid,
            settings.crop_rows,
            tile_rows=self._tile_rows,
        )

    @torch.inference_mode()
    def batch(self, images: Sequence[int], wanted: int) -> LabelledBatch:
        """Render the whole batch of these indices, and label the first ``wanted`` of it."""
        latents, rendered = self._render(images)
        pictures, labels, divergence = [], [], []
        for place in range(wanted):
            maps = [feature[place] for feature in rendered.features]
            label, disagreement = self._labeller.label(maps)
            pictures.append(self._renderer.picture_tensor(rendered.images[place]))
            labels.append(label)
            divergence.append(disagreement)
        exact = torch.stack(divergence)
        stored = divergence_to_float16(exact, self._ensemble.num_members)
        tensors = (torch.stack(pictures), torch.stack(labels), stored, score_images(exact, self._score))
        on_host = [download(values) for values in tensors]
        ready = None
        if exact.device.type == "cuda":
            ready = torch.cuda.Event()
            ready.record(torch.cuda.current_stream(exact.device))
        return LabelledBatch(on_host[0], on_host[1], on_host[2], on_host[3], latents[:wanted], ready)

    @torch.inference_mode()
    def agreement(self, images: Sequence[int], precision: torch.dtype) -> float:
        """The share of pixels of these images that products of ``precision`` label as one's own do."""
        _, rendered = self._render(images)
        exact, other = self._labeller, self._make_labeller(precision)
        shares = []
        for place in range(len(images)):
            maps = [feature[place] for feature in rendered.features]
            shares.append((exact.label(maps)[0] == other.label(maps)[0]).double().mean())
        return float(torch.stack(shares).mean())

    def _render(self, images: Sequence[int]) -> tuple[np.ndarray, Rendered]:
        latents = seeded_latents(self._seed, images, self._renderer.generator.latent_size)
        return latents, self._renderer.render(latents, SAMPLED_SPACE, images)
