"""The networks of a translator: shapes, sizes, normalisation and what a patch sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.models.patch_discriminator import (
    PatchDiscriminator,
    discriminator_halvings,
    feedback,
    patch_side,
)
from pipeline.models.unet import UPSAMPLING, UNet, generator_halvings, initialise, instance_norm, reflected


def random_images(height: int, width: int, num: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.rand(num, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("upsampling", UPSAMPLING)
@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 30), (1, 1), (2, 40)])
def test_a_generator_gives_images_of_the_size_of_its_input(height: int, width: int, upsampling: str) -> None:
    network = UNet(2, 2, upsampling)
    initialise(network, 0)
    images = network(random_images(height, width))
    assert images.shape == (2, 3, height, width)
    assert images.abs().max() <= 1


@pytest.mark.parametrize("upsampling", UPSAMPLING)
def test_an_image_is_translated_alike_in_any_company(upsampling: str) -> None:
    network = UNet(4, 2, upsampling)
    initialise(network, 1)
    images = random_images(16, 20, 3)
    with torch.no_grad():
        torch.testing.assert_close(network(images)[1:2], network(images[1:2]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("resolution", "halvings"), [(8, 1), (16, 2), (31, 2), (32, 3), (64, 4), (128, 5), (256, 5), (1024, 5)]
)
def test_the_smallest_map_has_at_least_four_pixels_a_side(resolution: int, halvings: int) -> None:
    assert generator_halvings(resolution) == halvings
    assert resolution / 2**halvings >= 4


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 33))
def test_reflection_is_that_of_numpy(height: int, width: int, multiple: int) -> None:
    image = torch.arange(height * width, dtype=torch.float32).view(1, 1, height, width)
    missing = -width % multiple
    expected = np.pad(image.numpy(), ((0, 0), (0, 0), (0, 0), (0, missing)), mode="reflect")
    assert np.array_equal(reflected(image, 3, multiple).numpy(), expected)


def test_instance_norm_is_that_of_torch() -> None:
    values = random_images(5, 7)
    expected = torch.nn.functional.instance_norm(values)
    torch.testing.assert_close(instance_norm(3)(values), expected, rtol=1e-5, atol=1e-6)


def test_first_weights_are_a_function_of_the_seed_and_have_the_published_deviation() -> None:
    networks = [UNet(16, 3) for _ in range(3)]
    for network, seed in zip(networks, (5, 5, 6), strict=True):
        initialise(network, seed)
    one, same, other = (torch.cat([p.flatten() for p in network.parameters()]) for network in networks)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert float(one[one != 0].detach().std()) == pytest.approx(0.02, rel=0.01)


def test_an_unknown_upsampling_is_refused() -> None:
    with pytest.raises(ValueError, match="bilinear or transposed"):
        UNet(2, 1, "nearest")


@pytest.mark.parametrize(("halvings", "side"), [(1, 16), (2, 34), (3, 70)])
def test_a_logit_depends_on_its_patch_and_on_no_pixel_outside(halvings: int, side: int) -> None:
    network = PatchDiscriminator(1, halvings).double()
    network.layers = torch.nn.Sequential(
        *(m for m in network.layers if not isinstance(m, torch.nn.GroupNorm))
    )
    initialise(network, 0)
    for parameter in network.parameters():
        parameter.data.abs_()  # no gradient cancels another
    images = torch.zeros(1, 3, 2 * side, 2 * side, dtype=torch.float64, requires_grad=True)
    logits = network(images)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    assert images.grad is not None
    seen = images.grad.abs().sum(dim=(0, 1)) > 0  # [H, W]
    assert [int(seen.any(dim=axis).sum()) for axis in (0, 1)] == [side, side]
    assert patch_side(halvings) == side


@pytest.mark.parametrize(("resolution", "halvings"), [(16, 1), (33, 1), (34, 2), (64, 2), (70, 3), (256, 3)])
def test_a_patch_of_a_small_image_lies_within_it(resolution: int, halvings: int) -> None:
    assert discriminator_halvings(resolution) == halvings
    assert patch_side(halvings) <= resolution
    assert PatchDiscriminator(2, halvings)(random_images(resolution, resolution)).numel() > 2


def test_feedback_is_the_mean_over_patches_of_the_sigmoid() -> None:
    probabilities = torch.tensor([[0.25, 0.75, 0.5, 0.9], [0.1, 0.1, 0.1, 0.1]])
    logits = torch.logit(probabilities).view(2, 1, 2, 2)
    torch.testing.assert_close(feedback(logits), torch.tensor([0.6, 0.1]))
