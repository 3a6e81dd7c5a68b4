"""Noise maps: seeded, keyed by layer or by image and layer, whatever the batch."""

from __future__ import annotations

import pytest
import torch

from pipeline.rendering.noise import noise_maps

SHAPES = [(4, 4), (4, 4), (8, 6)]


def test_const_noise_is_one_map_a_layer_for_every_image() -> None:
    first, again = noise_maps(SHAPES, "const", 3, [0, 1]), noise_maps(SHAPES, "const", 3, [7])
    assert [tuple(noise.shape) for noise in first] == [(1, 1, 4, 4), (1, 1, 4, 4), (1, 1, 8, 6)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])  # layers of one shape differ
    assert not torch.equal(first[0], noise_maps(SHAPES, "const", 4, [0])[0])


def test_const_noise_of_a_layer_does_not_depend_on_the_other_layers() -> None:
    alone = noise_maps([(2, 2), SHAPES[1]], "const", 3, [0])
    assert torch.equal(alone[1], noise_maps(SHAPES, "const", 3, [0])[1])


def test_random_noise_belongs_to_the_image_whatever_its_batch() -> None:
    batch = noise_maps(SHAPES, "random", 3, [5, 2, 9])
    alone = noise_maps(SHAPES, "random", 3, [2])
    for layer in range(len(SHAPES)):
        assert batch[layer].shape == (3, 1, *SHAPES[layer])
        assert torch.equal(batch[layer][1:2], alone[layer])
        assert not torch.equal(batch[layer][0], batch[layer][1])
    assert not torch.equal(batch[0], batch[1])


def test_zero_noise_is_zero() -> None:
    for noise, shape in zip(noise_maps(SHAPES, "zero", 3, [0, 1]), SHAPES, strict=True):
        assert torch.equal(noise, torch.zeros(1, 1, *shape))


@pytest.mark.parametrize("mode", ["const", "random"])
def test_noise_is_standard_normal_float32(mode: str) -> None:
    noise = noise_maps([(128, 128)], mode, 0, [0])[0]
    assert noise.dtype == torch.float32
    assert abs(noise.mean()) < 0.05 and abs(noise.std() - 1) < 0.05


def test_const_and_random_noise_share_no_map() -> None:
    assert not torch.equal(
        noise_maps([(4, 4)], "const", 0, [0])[0], noise_maps([(4, 4)], "random", 0, [0])[0]
    )


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="loud"):
        noise_maps(SHAPES, "loud", 0, [0])
