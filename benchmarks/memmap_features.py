"""The usual way around the released code's memory, as a plain program: features in one memory-mapped file an
image.

    python -m benchmarks.memmap_features generator.for_g_all.pt latents.npy --resolution 512 --out features

Every layer is resized as the released code does, by ``F.interpolate``, whole and channels first in float32;
it is cast to float16, transposed to channels last and put into the file, which is flushed to the disk at the
image's end. Layer by layer is the kind form of it: with all layers in one array first, as released, it took
1.6 times as long. The renderer is `dgan`'s.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from pipeline.checkpoints.read import load_generator
from pipeline.rendering.renderer import Renderer, RenderSettings, computed_average_latent


def write_features(path: Path, maps: list[Tensor], side: int) -> None:
    """Maps [1, c, h, w] of one image -> a flat file of (side, side, C) float16, on the disk at return."""
    channels = sum(values.shape[1] for values in maps)
    file = np.memmap(path, np.float16, "w+", shape=(side, side, channels))
    offset = 0
    for values in maps:
        resized = interpolate(values, size=(side, side), mode="bilinear", align_corners=False)[0]
        end = offset + len(resized)
        file[:, :, offset:end] = resized.half().permute(1, 2, 0).numpy()  # [side, side, c]
        offset = end
    file.flush()
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


@torch.inference_mode()
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Features of rendered latents as memory-mapped files.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("latents", type=Path, help="(N, D) of Z, .npy")
    parser.add_argument("--resolution", type=int, default=512)
    parser.add_argument("--out", type=Path, default=Path("features"))
    options = parser.parse_args(arguments)
    side = options.resolution
    generator = load_generator(options.checkpoint).generator
    settings = RenderSettings(0.7, generator.default_truncation_layers, "const", 0, (side, side), (0, side))
    average = computed_average_latent(generator)
    renderer = Renderer(generator, settings, average, torch.device("cpu"))
    options.out.mkdir(parents=True, exist_ok=True)
    for image, latent in enumerate(np.load(options.latents)):
        maps = renderer.render(latent[None], "z", [image]).features
        write_features(options.out / f"{image}.dat", maps, side)


if __name__ == "__main__":
    main()
