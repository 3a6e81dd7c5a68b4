"""Segmenters of a few weights, that tell classes by colour, with photographs of such colours: for tests of
what is made of predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.photographs import CLASSES, COLORS, Labels, random_labels, stem
from torch import Tensor, nn

from fstore.meta import KeypointInfo
from pipeline.segment.description import SegmenterInfo
from pipeline.segment.folder import SEGMENTER, epoch_name
from pipeline.segment.pictures import DEVIATION, MEAN

SIZE = (16, 16)
POINTS = KeypointInfo(("left", "right"), 1.0)


class ColorNetwork(nn.Module):
    """Images [N, 3, H, W] to [N, K, H, W]: one weighted sum of a pixel's values for each output."""

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, num_outputs, 1)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.layer(images)
        return found


def use_color_networks(patch: pytest.MonkeyPatch) -> None:
    """Every segmenter that is used has a `ColorNetwork`."""

    def build(architecture: str, backbone: str, output_stride: int | None, num_outputs: int) -> nn.Module:
        return ColorNetwork(num_outputs)

    patch.setattr("pipeline.segment.trained.build_network", build)


def weights_by_color(seed: int, noise: float) -> dict[str, Tensor]:
    """Weights whose greatest output is the class of the nearest of COLORS, if ``noise`` is 0."""
    colors = torch.tensor([list(bytes.fromhex(color[1:])) for color in COLORS]) / 255
    prototypes = (colors - torch.tensor(MEAN)) / torch.tensor(DEVIATION)  # as the network sees them
    random = torch.Generator().manual_seed(seed)
    weight = prototypes + noise * torch.randn(prototypes.shape, generator=random)
    bias = -prototypes.square().sum(1) / 2  # nearest prototype p: greatest x p - |p|^2 / 2
    return {"layer.weight": weight[:, :, None, None], "layer.bias": bias}


def write_segmenter(
    folder: Path,
    noises: Sequence[float] = (0.0,),
    *,
    keypoints: KeypointInfo | None = None,
    data: dict[str, object] | None = None,
    epochs: int | None = None,
    size: tuple[int, int] = SIZE,
    released: bool = False,
) -> Path:
    """A segmenter with an epoch for each of ``noises``."""
    folder.mkdir(parents=True)
    info = SegmenterInfo(
        "deeplabv3",
        "resnet50",
        8,
        size,
        () if keypoints else CLASSES,
        None,
        keypoints,
        data or {},
        {"epochs": epochs or len(noises)},
        {},
    )
    if not released:
        SEGMENTER.write_description(folder, info)
    for epoch, noise in enumerate(noises):
        weights = weights_by_color(epoch, noise)
        if keypoints is not None:
            weights = {name: tensor[: len(keypoints.names)] for name, tensor in weights.items()}
        torch.save({"model_state_dict": weights}, folder / epoch_name("deeplabv3", epoch))
    return folder


def write_colored(
    folder: Path, names: Sequence[str], size: tuple[int, int] = SIZE, noise: int = 230
) -> tuple[Path, Labels]:
    """Pictures of random labels in the classes' colours, with noise, and the labels."""
    folder.mkdir(parents=True, exist_ok=True)
    labels, rng = random_labels(names, size), np.random.default_rng(3)
    table = np.array([list(bytes.fromhex(color[1:])) for color in COLORS], np.int64)
    for name, one in labels.items():
        values = table[one] + rng.integers(-noise, noise + 1, (*size, 3))
        Image.fromarray(np.uint8(values.clip(0, 255))).save(folder / f"{stem(name)}.png")
    return folder, {f"{stem(name)}.png": one for name, one in labels.items()}
