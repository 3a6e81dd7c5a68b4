"""Which noise a picture is rendered with, and from which latents an average is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.generator_files import Sizes, random_tensors, rosinality_state, write_ada

from pipeline.checkpoints.read import load_generator
from pipeline.models.generator import Generator
from pipeline.rendering.noise import noise_maps
from pipeline.rendering.renderer import Renderer, RenderSettings, computed_average_latent

SIZES = Sizes()


def picture(generator: Generator, noise: str, seed: int = 0, image: int = 0) -> torch.Tensor:
    settings = RenderSettings(1.0, 6, noise, seed, (16, 16), (0, 16))
    renderer = Renderer(generator, settings, np.zeros(8, np.float32), torch.device("cpu"))
    return renderer.render(np.ones((1, generator.z_size), np.float32), "z", [image]).images


def expected(generator: Generator, noise: Any) -> torch.Tensor:
    w = generator.mapping(torch.ones(1, generator.z_size))
    return generator.synthesis(w[:, None].expand(-1, 6, -1), noise).images


def saved(folder: Path, *, stored_noise: bool) -> Generator:
    state = rosinality_state(random_tensors(SIZES), SIZES)
    kept = {key: value for key, value in state.items() if stored_noise or not key.startswith("noises.")}
    torch.save(kept, folder / "g.pt")
    return load_generator(folder / "g.pt").generator


def test_constant_noise_is_the_checkpoints_own_whatever_the_seed(tmp_path: Path) -> None:
    generator = saved(tmp_path, stored_noise=True)
    wanted = expected(generator, generator.stored_noise)
    assert torch.equal(picture(generator, "const", seed=0), wanted)
    assert torch.equal(picture(generator, "const", seed=1), wanted)


def test_constant_noise_is_seeded_where_the_checkpoint_has_none(tmp_path: Path) -> None:
    generator = saved(tmp_path, stored_noise=False)
    maps = noise_maps(generator.noise_shapes, "const", 3, [0])
    assert torch.equal(picture(generator, "const", seed=3), expected(generator, maps))


@pytest.mark.parametrize("noise", ["zero", "random"])
def test_other_noise_does_not_touch_the_checkpoints(tmp_path: Path, noise: str) -> None:
    generator = saved(tmp_path, stored_noise=True)
    maps = noise_maps(generator.noise_shapes, noise, 0, [5])
    assert torch.equal(picture(generator, noise, image=5), expected(generator, maps))


def test_a_generator_without_noise_inputs_renders(tmp_path: Path) -> None:
    sizes = Sizes(noise=False)
    generator = load_generator(write_ada(tmp_path / "n.pkl", random_tensors(sizes), sizes)).generator
    assert torch.equal(picture(generator, "const"), picture(generator, "random"))


def test_the_average_latent_is_of_w_where_z_has_another_size(tmp_path: Path) -> None:
    sizes = Sizes(z_size=5, w_size=9)
    generator = load_generator(write_ada(tmp_path / "n.pkl", random_tensors(sizes), sizes)).generator
    assert computed_average_latent(generator).shape == (9,)
