"""A segmentation network of a few weights in place of the real ones, so that a training takes no time."""

from __future__ import annotations

import pytest
from torch import Tensor, nn
from torch.nn import functional as F


class TinyNetwork(nn.Module):
    """Images [N, 3, H, W] to [N, num_outputs, H, W]; with batch norm and dropout, as the real ones."""

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Conv2d(4, num_outputs, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        return F.interpolate(self.layers(images), size=images.shape[-2:], mode="bilinear")


def use_tiny_networks(patch: pytest.MonkeyPatch) -> None:
    """Every network that a training makes is a tiny one."""

    def build(architecture: str, backbone: str, output_stride: int | None, num_outputs: int) -> nn.Module:
        return TinyNetwork(num_outputs)

    for module in ("job", "plan"):
        patch.setattr(f"pipeline.segment.training.{module}.build_network", build)
