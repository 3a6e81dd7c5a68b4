"""Feature maps and an ensemble of random values, and what PyTorch alone makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from fstore.format import LayerInfo, build_layers
from pipeline.models.interpreter import InterpreterEnsemble

MEMBERS = 3


def ensemble(channels: int, num_classes: int = 7, seed: int = 0) -> InterpreterEnsemble:
    """As after training: statistics and gains of every channel differ, logits are large."""
    made = InterpreterEnsemble(num_classes, channels, seeds=range(MEMBERS), widths=(24, 12)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name in ("norm1", "norm2"):
            getattr(made, f"{name}_mean").normal_(0.5, 0.3, generator=generator)
            getattr(made, f"{name}_var").uniform_(0.3, 2, generator=generator)
            getattr(made, f"{name}_weight").uniform_(0.5, 2, generator=generator)
            getattr(made, f"{name}_bias").normal_(generator=generator)
        for name in ("bias1", "bias2", "bias3"):
            getattr(made, name).normal_(generator=generator)
        made.weight1.mul_(10)
        made.weight2.mul_(10)
        made.weight3.mul_(30)
    return made


def of_rank(model: InterpreterEnsemble, layers: Sequence[LayerInfo], rank: int) -> None:
    """Make the first layer's weights for the layers of each resolution a matrix of this rank, as after
    training in a subspace.
    """
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for resolution in {layer.resolution for layer in layers}:
            of_level = [layer for layer in layers if layer.resolution == resolution]
            channels = torch.cat([torch.arange(x.offset, x.offset + x.channels) for x in of_level])
            basis = torch.linalg.qr(torch.randn(len(channels), rank, generator=generator)).Q
            model.weight1[:, :, channels] = model.weight1[:, :, channels] @ basis @ basis.T


def random_maps(sides: Sequence[tuple[int, int]], channels: int = 5) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(channels + i % 2, *side, generator=generator) for i, side in enumerate(sides)]


def layers_of(maps: Sequence[torch.Tensor], grid: tuple[int, int]) -> tuple[LayerInfo, ...]:
    return build_layers([(f"l{i}", (m.shape[1], m.shape[2]), m.shape[0]) for i, m in enumerate(maps)], grid)


def plain_logits(
    model: InterpreterEnsemble,
    maps: Sequence[torch.Tensor],
    grid: tuple[int, int],
    crop: tuple[int, int],
    mode: str = "bilinear",
) -> torch.Tensor:
    """[E, H * W, K] by torch alone."""
    whole = [F.interpolate(m[None], size=grid, mode=mode)[0] for m in maps]
    pixels = torch.cat(whole)[:, slice(*crop)].flatten(1).T  # [H * W, C]
    with torch.inference_mode():
        return model.forward_shared(pixels.contiguous())
