"""Images with labels or keypoints, divergence and score, computed on the device in batches.

For each image the host gets its uint8 picture, its labels (or float16 heat maps and their peaks), its float16
divergence and its score. ``LabelledImages.batch`` starts this work, and ``host_arrays``
waits for it. A GPU stays busy where a caller starts the next batch before it fetches the last one. This
module knows generators and interpreters, and no stores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fstore.format import LayerInfo
from pipeline.labelling.heat_maps import peaks
from pipeline.labelling.labeller import ImageLabeller
from pipeline.labelling.scores import score_images
from pipeline.labelling.votes import HeatTally, Tally, divergence_to_float16
from pipeline.machine.device import download
from pipeline.machine.random_streams import Purpose
from pipeline.models.folded import FoldedEnsemble
from pipeline.models.generator import Rendered
from pipeline.models.interpreter import InterpreterEnsemble
from pipeline.rendering.latents import seeded_latents
from pipeline.rendering.renderer import Renderer

AGREEING_PART = 0.01  # of the larger image side: a keypoint that moves by less is where it was
SAMPLED_SPACE = "z"  # new images come from Z, whatever space the annotated latents were given in


@dataclass(frozen=True)
class LabelledBatch:
    """n images in host memory, once ``ready`` has happened; and their latents (n, D) float32."""

    tensors: Mapping[str, Tensor]
    """By the names of a dataset's arrays, ``uncertainty`` in float64."""
    latents: np.ndarray
    ready: torch.cuda.Event | None
    """On a GPU: recorded after the copies to the host."""

    def host_arrays(self) -> dict[str, np.ndarray]:
        """The arrays of a dataset by name. Waits until the device has computed them."""
        if self.ready is not None:
            self.ready.synchronize()
        arrays = {name: tensor.numpy() for name, tensor in self.tensors.items()}
        return {
            **arrays,
            "uncertainty": arrays["uncertainty"].astype(np.float32),
            "latents": self.latents,
        }


class LabelledImages:
    """The source of labelled images: image i follows from (purpose, seed, i), in batches of a fixed size."""

    def __init__(
        self,
        renderer: Renderer,
        ensemble: InterpreterEnsemble,
        layers: Sequence[LayerInfo],
        *,
        latent_purpose: Purpose,
        seed: int,
        score: str,
        precision: torch.dtype,
        tile_rows: int | None = None,
        upsample: str = "bilinear",
        keypoints: bool = False,
        member_votes: bool = False,
    ) -> None:
        """Take an ensemble in evaluation mode, which is moved to the renderer's device.

        ``layers``: those that it has learnt. ``keypoints``: its outputs are heats of keypoints, and not
        logits of classes. ``member_votes``: batches have the array of that name too. The other arguments say
        how images are drawn, labelled and scored.
        """
        self._keypoints, self._member_votes = keypoints, member_votes
        self._renderer, self._score = renderer, score
        self._latent_purpose, self._seed = latent_purpose, seed
        self._layers, self._tile_rows, self._upsample = tuple(layers), tile_rows, upsample
        self._ensemble = ensemble.to(renderer.device)
        self._labeller = self._make_labeller(precision)

    def _make_labeller(self, precision: torch.dtype) -> ImageLabeller:
        """A labeller with products of this precision, for the renderer's grid and crop."""
        settings = self._renderer.settings
        return ImageLabeller(
            FoldedEnsemble(self._ensemble, precision),
            self._layers,
            settings.grid,
            settings.crop_rows,
            tile_rows=self._tile_rows,
            upsample=self._upsample,
            tally=HeatTally if self._keypoints else Tally,
        )

    @torch.inference_mode()
    def batch(self, images: Sequence[int], wanted: int) -> LabelledBatch:
        """Render the whole batch of these indices, and label the first ``wanted`` of it."""
        latents, rendered = self._render(images)
        pictures, annotations, divergence = [], [], []
        for place in range(wanted):
            maps = [feature[place] for feature in rendered.features]
            annotation, disagreement = self._annotate(maps)
            pictures.append(self._renderer.picture_tensor(rendered.images[place]))
            annotations.append(annotation)
            divergence.append(disagreement)
        exact = torch.stack(divergence)
        tensors = {
            "images": torch.stack(pictures),
            **{name: torch.stack([one[name] for one in annotations]) for name in annotations[0]},
            "divergence": self._stored_divergence(exact),
            "uncertainty": score_images(exact, self._score, _labels(annotations)),
        }
        on_host = {name: download(values) for name, values in tensors.items()}
        ready = None
        if exact.device.type == "cuda":
            ready = torch.cuda.Event()
            ready.record(torch.cuda.current_stream(exact.device))
        return LabelledBatch(on_host, latents[:wanted], ready)

    def _annotate(self, maps: Sequence[Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """An image's arrays by name, and its divergence [H, W].

        The arrays are labels [H, W], and votes [K, K] where they are wanted; or float16 heat maps [H, W, K]
        and their peaks.

        This is done image by image: in float32 the heat maps of a batch would take most of the memory.
        """
        if self._member_votes:
            labels, divergence, votes = self._labeller.label_and_count(maps)
            return {"labels": labels, "member_votes": votes}, divergence
        label, divergence = self._labeller.label(maps)
        if not self._keypoints:
            return {"labels": label}, divergence
        heatmaps = label.half()
        return {"heatmaps": heatmaps, "keypoints": peaks(heatmaps[None])[0]}, divergence

    def _stored_divergence(self, exact: Tensor) -> Tensor:
        if self._keypoints:
            return exact.half()
        return divergence_to_float16(exact, self._ensemble.num_members)

    @torch.inference_mode()
    def agreement(
        self,
        images: Sequence[int],
        precision: torch.dtype,
        *,
        batch_size: int,
        advance: Callable[[int], None] = lambda count: None,
    ) -> float:
        """The share of pixels that get the same label from products of ``precision`` and from this precision.

        For keypoints: the share that moves by at most 1% of the larger image side.
        ``advance`` is called with the number of images after each batch of at most ``batch_size``.
        """
        other = self._make_labeller(precision)
        shares: list[Tensor] = []
        for first in range(0, len(images), batch_size):
            batch = images[first : first + batch_size]
            shares += self._shares(batch, other)
            advance(len(batch))
        return float(torch.stack(shares).mean())

    def _shares(self, images: Sequence[int], other: ImageLabeller) -> list[Tensor]:
        """Each image's agreement. A function of its own, so that the maps are freed before the next batch."""
        _, rendered = self._render(images)
        shares = []
        for place in range(len(images)):
            maps = [feature[place] for feature in rendered.features]
            labels = (labeller.label(maps)[0] for labeller in (self._labeller, other))
            shares.append(self._agreeing(*labels).double().mean())
        return shares

    def _agreeing(self, one: Tensor, other: Tensor) -> Tensor:
        if not self._keypoints:
            return one == other
        moved = peaks(one[None])[0, :, :2] - peaks(other[None])[0, :, :2]  # [K, 2]
        return moved.norm(dim=1) <= AGREEING_PART * max(one.shape[:2])

    def _render(self, images: Sequence[int]) -> tuple[np.ndarray, Rendered]:
        size = self._renderer.generator.z_size
        latents = seeded_latents(self._latent_purpose, self._seed, images, size)
        return latents, self._renderer.render(latents, SAMPLED_SPACE, images)


def _labels(annotations: Sequence[Mapping[str, Tensor]]) -> Tensor | None:
    """[n, H, W] of images that have labels, which some scores need."""
    return torch.stack([one["labels"] for one in annotations]) if "labels" in annotations[0] else None
