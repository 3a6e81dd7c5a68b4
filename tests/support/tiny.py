"""Inputs for whole stages at toy size: a real StyleGAN1 checkpoint of 32 px, latents and masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.models.stylegan1 import StyleGAN1

WIDTHS = (12, 10, 8, 6)
LATENT_SIZE = 16
RESOLUTION = 32
CHANNELS = 2 * sum(WIDTHS)


def write_checkpoint(path: Path, seed: int = 0) -> Path:
    """A random-weight `*.for_g_all.pt` of 32 px and latent size 16."""
    torch.manual_seed(seed)
    network = StyleGAN1(WIDTHS, LATENT_SIZE)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    torch.save(network.state_dict(), path)
    return path


def write_inputs(
    folder: Path, num: int = 4, height: int = RESOLUTION, width: int = RESOLUTION, classes: int = 4
) -> Path:
    """checkpoint.pt, latents.npy (num, 16) and masks/image_mask{i}.npy of blocks of classes; returns
    ``folder``.
    """
    (folder / "masks").mkdir(parents=True)
    write_checkpoint(folder / "checkpoint.pt")
    random = np.random.default_rng(0)
    np.save(folder / "latents.npy", random.standard_normal((num, LATENT_SIZE)))
    for image in range(num):
        coarse = random.integers(0, classes, (4, 4)).astype(np.uint8)
        coarse.flat[:classes] = range(classes)
        rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
        np.save(folder / "masks" / f"image_mask{image}.npy", coarse[rows[:, None], columns[None, :]])
    return folder


def build(folder: Path) -> Path:
    """Inputs ``in/``, their ``features.zarr``, and ``interpreter``, by the commands; returns ``folder``."""
    write_inputs(folder / "in")
    store, interpreter = str(folder / "features.zarr"), str(folder / "interpreter")
    train = ["--members", "3", "--steps", "20", "--batch-size", "16"]
    for words in (
        ["extract-features", *input_flags(folder / "in"), "--store", store],
        ["train", "--store", store, "--out", interpreter, *train],
    ):
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output
    return folder


def input_flags(folder: Path) -> list[str]:
    """Flags of extract-features that name what ``write_inputs`` wrote."""
    return [
        "--checkpoint", str(folder / "checkpoint.pt"), "--latents", str(folder / "latents.npy"),
        "--annotations", str(folder / "masks"),
    ]  # fmt: skip
