"""The Frechet inception distance of translated images to those of their domain, where a library and its
weights are there. Nothing is downloaded.

torchmetrics computes it, with the Inception network of torch-fidelity. It knows images, and no training.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from pipeline.translate.training.metrics import grey_levels

LIBRARIES = ("torchmetrics", "torch_fidelity", "scipy")
WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
FEW = 2048
"""With fewer images than features the distance says little: the covariances have not their full rank."""


def weights_file() -> Path:
    """Where torch-fidelity keeps its network's weights."""
    return Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS


def left_out() -> str | None:
    """One line on why no distance can be computed here; None where it can."""
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        return f"FID is left out: {', '.join(missing)} not installed (pip install torchmetrics[image])"
    if not weights_file().is_file():
        return f"FID is left out: {weights_file()} is not there, and nothing is downloaded"
    return None


def frechet_distance(true: Iterable[Tensor], made: Iterable[Tensor], device: torch.device) -> float:
    """The distance of two sets of images, in parts [N, 3, H, W] in [-1, 1]. Ask `left_out` before."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    distance = FrechetInceptionDistance(feature_extractor_weights_path=str(weights_file())).to(device)
    for images, is_real in ((true, True), (made, False)):
        for part in images:
            distance.update(grey_levels(part).to(torch.uint8), real=is_real)
    return float(distance.compute())
