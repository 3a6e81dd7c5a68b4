"""What every generator offers the pipeline: latents in, an image and its feature maps out.

The protocol is all that a stage sees of a network. Nothing here knows checkpoint files, architectures,
feature stores or how noise maps are drawn: noise is an argument, so that one latent always gives one image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class FeatureLayer:
    """One feature map of a generator, in the order in which the maps are concatenated."""

    name: str
    resolution: tuple[int, int]
    """(height, width) of the native map, in pixels."""
    channels: int


@dataclass(frozen=True)
class Rendered:
    """What one call of `Generator.synthesis` computed for a batch of B latents."""

    images: Tensor
    """[B, 3, R, R] float32, nominally within [-1, 1] (not clipped); of a grey generator three equal channels.
    """
    features: list[Tensor]
    """One [B, c, h, w] float32 map a layer, in the order of `Generator.layers`."""


class Generator(Protocol):
    """A pretrained generator as the stages use it. Callers enter `torch.no_grad` themselves."""

    @property
    def architecture(self) -> str:
        """The family's name, for example ``stylegan1``."""

    @property
    def resolution(self) -> int:
        """Side of the square image, in pixels."""

    @property
    def image_channels(self) -> int:
        """Channels of the network's own image: 3, or 1 for a grey image, which `synthesis` repeats to 3."""

    @property
    def latent_size(self) -> int:
        """D: entries of one W latent, and of a row of W+."""

    @property
    def z_size(self) -> int:
        """Entries of one Z latent; of most networks as many as of a W latent."""

    @property
    def class_labels(self) -> int:
        """Number of classes of a conditional generator, which keeps the chosen one; 0 of any other."""

    @property
    def num_w_layers(self) -> int:
        """Rows of the W+ latent that one Z or W latent is broadcast to."""

    @property
    def min_w_layers(self) -> int:
        """Rows of a W+ latent that `synthesis` reads; further rows are ignored."""

    @property
    def layers(self) -> tuple[FeatureLayer, ...]:
        """The feature maps that `synthesis` returns."""

    @property
    def default_truncation_layers(self) -> int:
        """Number of leading W+ rows that truncation moves unless told otherwise."""

    @property
    def noise_shapes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of every noise input, in the order in which `synthesis` takes them."""

    @property
    def stored_noise(self) -> tuple[Tensor, ...] | None:
        """The checkpoint's own constant noise, a [1, 1, h, w] float32 map for each input; None without."""

    def mapping(self, z: Tensor) -> Tensor:
        """Z [B, `z_size`] to W [B, D]."""

    def synthesis(self, w_plus: Tensor, noise: Sequence[Tensor]) -> Rendered:
        """W+ [B, L, D], L >= `min_w_layers`, and a noise map [1|B, 1, h, w] each to image and features."""

    def to(self, device: Any) -> Any:
        """The same generator with its weights on `device`."""


def broadcast_w(w: Tensor, num_layers: int) -> Tensor:
    """W [B, D] repeated to W+ [B, num_layers, D] (a view; nothing is copied)."""
    if w.ndim != 2:
        raise ValueError(f"got W latents of shape {tuple(w.shape)}, expected (batch, latent size)")
    return w[:, None, :].expand(-1, num_layers, -1)  # [B, L, D]


def truncate(w_plus: Tensor, average: Tensor, psi: float, num_layers: int) -> Tensor:
    """Pull the first `num_layers` rows of W+ [B, L, D] toward `average` ([D] or [>= num_layers, D]); others
    stay.

    The truncation trick in W (Karras et al. 2019, "A Style-Based Generator Architecture for GANs", appendix
    B): ``w' = average + psi * (w - average)``. Raises ValueError when the shapes do not fit.
    """
    _, rows, latent_size = w_plus.shape
    if not 0 <= num_layers <= rows:
        raise ValueError(
            f"got {num_layers} truncation layers, expected 0 to {rows}, the rows of the W+ latents"
        )
    fits = average.ndim in (1, 2) and average.shape[-1] == latent_size
    if not fits or (average.ndim == 2 and average.shape[0] < num_layers):
        raise ValueError(
            f"got an average latent of shape {tuple(average.shape)}, expected ({latent_size},) or "
            f"(at least {num_layers}, {latent_size})"
        )
    center = average[:num_layers] if average.ndim == 2 else average
    moved = center + psi * (w_plus[:, :num_layers] - center)  # [B, num_layers, D]
    return torch.cat([moved, w_plus[:, num_layers:]], dim=1)  # [B, L, D]
