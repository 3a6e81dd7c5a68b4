"""StyleGAN1 checkpoints of the official sizes with random weights, and latents and masks for them.

    python -m benchmarks.generators face face.for_g_all.pt

Random weights give feature maps of the true shapes, from nothing that must be downloaded. How well a trained
network's features compress, they do not tell.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

KINDS = {"face": 1024, "car": 512, "cat": 256}
LATENT_SIZE = 512
NOISE_STD = 0.1  # of the learned noise weights, which are 0 before training


def official_widths(resolution: int) -> list[int]:
    """Channels of the 4x4, 8x8, ... block: min(512, 16384 / side) (Karras et al. 2019, released networks)."""
    sides = [2**power for power in range(2, resolution.bit_length())]
    return [min(512, 16384 // side) for side in sides]


def feature_width(widths: list[int]) -> int:
    """C: two feature maps a block."""
    return 2 * sum(widths)


def make_checkpoint(path: Path, widths: list[int], latent_size: int = LATENT_SIZE, seed: int = 0) -> None:
    """Write a state dict with the names of the released ``*.for_g_all.pt`` files."""
    import torch

    from pipeline.models.stylegan1 import StyleGAN1

    torch.manual_seed(seed)
    network = StyleGAN1(widths, latent_size)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("noise.weight"):
                parameter.normal_(0, NOISE_STD)
    torch.save(network.state_dict(), path)


def make_inputs(
    folder: Path, side: int, *, num_images: int, latent_size: int = LATENT_SIZE, num_classes: int = 34
) -> tuple[Path, Path]:
    """Write latents (N, D) and masks (side, side) in the released format; returns their file and folder."""
    from pipeline.machine.random_streams import Purpose
    from pipeline.rendering.latents import seeded_latents

    latents, masks = folder / "latents.npy", folder / "masks"
    masks.mkdir(parents=True, exist_ok=True)
    np.save(latents, seeded_latents(Purpose.ANNOTATED_LATENTS, 0, range(num_images), latent_size))
    for image in range(num_images):
        np.save(masks / f"image_mask{image}.npy", blob_mask(side, num_classes, image))
    return latents, masks


def blob_mask(side: int, num_classes: int, seed: int) -> np.ndarray:
    """(side, side) uint8: the nearest of 3 x ``num_classes`` random centres gives the class: regions."""
    random = np.random.default_rng(seed)
    centres = random.random((3 * num_classes, 2)) * side
    labels = np.concatenate([np.arange(num_classes)] * 3)
    rows = np.arange(side)
    nearest = np.full((side, side), np.inf)
    mask = np.zeros((side, side), np.uint8)
    for (y, x), label in zip(centres, labels, strict=True):
        distance = (rows[:, None] - y) ** 2 + (rows[None, :] - x) ** 2
        closer = distance < nearest
        mask[closer], nearest = label, np.minimum(nearest, distance)
    return mask


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Write a random-weight StyleGAN1 checkpoint of an official size."
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    widths = official_widths(KINDS[options.kind])
    make_checkpoint(options.out, widths, seed=options.seed)
    print(f"{options.out}: {KINDS[options.kind]} px, features of {feature_width(widths)} channels")


if __name__ == "__main__":
    main()
