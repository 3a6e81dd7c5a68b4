"""Renders latents to pictures and feature maps: mapping, truncation, noise, and the picture on the feature
grid.

Extraction and synthesis render only through this module, so that one latent gives one image in both. It knows
generators, and no stores. ``RenderSettings`` says how it renders, and the store records them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fstore.interpolate import resize_block
from pipeline.errors import UsageError
from pipeline.machine.device import upload
from pipeline.machine.random_streams import Purpose
from pipeline.models.generator import Generator, Rendered, broadcast_w, truncate
from pipeline.rendering.latents import average_latent_samples
from pipeline.rendering.noise import noise_maps

NUM_AVERAGE_SAMPLES = 8000


@dataclass(frozen=True)
class RenderSettings:
    """What a picture depends on, apart from the checkpoint and the latent.

    ``truncation`` psi acts on the first ``truncation_layers`` rows of W+ made from Z; W and W+ latents are
    taken as they are.
    """

    truncation: float
    truncation_layers: int
    noise: str
    noise_seed: int
    grid: tuple[int, int]
    crop_rows: tuple[int, int]

    @classmethod
    def from_record(
        cls, generator: Mapping[str, Any], grid: tuple[int, int], crop_rows: tuple[int, int]
    ) -> RenderSettings:
        """From a store's ``generator`` record. Raises UsageError when it lacks one of them."""
        try:
            return cls(
                float(generator["truncation"]),
                int(generator["truncation_layers"]),
                str(generator["noise"]),
                int(generator["noise_seed"]),
                grid,
                crop_rows,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"the record of the generator lacks {error}; extract and train again") from None


class Renderer:
    """Holds a generator on its device with its constant noise and average latent, which every batch needs.

    Noise ``const`` is the checkpoint's own where it has some, else seeded. Noise ``random`` is drawn for
    ``noise_purpose``: annotated image 3 and image 3 of a dataset have different noise.
    """

    def __init__(
        self,
        generator: Generator,
        settings: RenderSettings,
        average_latent: np.ndarray,
        device: torch.device,
        *,
        noise_purpose: Purpose = Purpose.ANNOTATED_NOISE,
    ) -> None:
        self.generator = generator.to(device)
        self.settings = settings
        self.device = device
        self._average = torch.from_numpy(average_latent).to(device)
        self._constant: list[Tensor] | None = None
        self._noise_purpose = noise_purpose

    def w_plus(self, latents: np.ndarray, space: str) -> Tensor:
        """Latents [B, D] of Z or W, or [B, L, D] of W+ -> W+ [B, L, D] as synthesis takes them."""
        values = upload(torch.from_numpy(np.ascontiguousarray(latents, dtype=np.float32)), self.device)
        if space == "w+":
            return values
        if space == "w":
            return broadcast_w(values, self.generator.num_w_layers)
        w_plus = broadcast_w(self.generator.mapping(values), self.generator.num_w_layers)
        return truncate(w_plus, self._average, self.settings.truncation, self.settings.truncation_layers)

    @torch.inference_mode()
    def render(self, latents: np.ndarray, space: str, images: Sequence[int]) -> Rendered:
        """Render latents [B, ...] of ``space``.

        ``images`` are the numbers of the B images. Noise of mode ``random`` depends on them.
        """
        return self.generator.synthesis(self.w_plus(latents, space), self._noise(images))

    def _noise(self, images: Sequence[int]) -> list[Tensor]:
        if self.settings.noise == "random":
            return self._on_device(self._maps(images))
        if self._constant is None:
            stored = self.generator.stored_noise if self.settings.noise == "const" else None
            self._constant = self._on_device(self._maps(images) if stored is None else stored)
        return self._constant

    def _maps(self, images: Sequence[int]) -> list[Tensor]:
        mode, seed = self.settings.noise, self.settings.noise_seed
        return noise_maps(self.generator.noise_shapes, mode, seed, images, self._noise_purpose)

    def _on_device(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [upload(values, self.device) for values in maps]

    def picture(self, image: Tensor) -> np.ndarray:
        """What an annotator sees: [3, R, R] float32 in about [-1, 1] -> (H, W, 3) uint8.

        The image is resized to the grid and cropped.
        """
        return np.asarray(self.picture_tensor(image).cpu().numpy())

    def picture_tensor(self, image: Tensor) -> Tensor:
        """The same as a tensor on the image's device. As uint8 it takes a quarter of the bytes to move."""
        return to_uint8(picture_float(image, self.settings.grid, self.settings.crop_rows))


def picture_float(image: Tensor, grid: tuple[int, int], crop_rows: tuple[int, int]) -> Tensor:
    """[3, R, R] float32 -> [H, W, 3] float32 on the rows [a, b) of the grid, bilinear."""
    channels_last = image.permute(1, 2, 0).contiguous()  # [R, R, 3]
    size = (channels_last.shape[0], channels_last.shape[1])
    if size == grid:
        return channels_last[slice(*crop_rows)]
    rows = torch.arange(*crop_rows, device=image.device)
    columns = torch.arange(grid[1], device=image.device)
    return resize_block(channels_last, size, grid, rows, columns)


def to_uint8(picture: Tensor) -> Tensor:
    """The released rounding: clip(trunc(127.5 x + 127.5), 0, 255). A value that is no number is black."""
    return (picture * 127.5 + 127.5).clamp(0, 255).nan_to_num(0.0).to(torch.uint8)


@torch.inference_mode()
def computed_average_latent(generator: Generator) -> np.ndarray:
    """(D,) float32: the mean W of 8,000 seeded Z samples, for checkpoints that come without an average
    latent.
    """
    samples = torch.from_numpy(average_latent_samples(generator.z_size, NUM_AVERAGE_SAMPLES))
    return np.asarray(generator.mapping(samples).double().mean(0).float().numpy())
