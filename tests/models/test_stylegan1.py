"""StyleGAN1 against the released port's outputs, and its shapes at the boundary."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.places import FIXTURES
from torch import Tensor
from torch.nn import functional as F

from pipeline.models import tensors
from pipeline.models.generator import Rendered, broadcast_w, truncate
from pipeline.models.stylegan1 import StyleGAN1, StyleMod, UpscaleConv


def small_network(widths: tuple[int, ...] = (8, 6, 4), latent_size: int = 16) -> StyleGAN1:
    torch.manual_seed(0)
    network = StyleGAN1(widths, latent_size)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("noise.weight"):
                parameter.normal_()
    return network.eval().requires_grad_(False)


def zero_noise(network: StyleGAN1) -> list[Tensor]:
    return [torch.zeros(1, 1, *shape) for shape in network.noise_shapes]


def assert_close(found: Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("stylegan1_64", slice(0, 64)),  # every layer at or below the feature resolution
        ("stylegan1_128_out64_crop", slice(8, 56)),  # fused upscaling at 128, two layers reduced, cropped
    ],
)
def test_outputs_equal_those_of_the_released_port(name: str, rows: slice) -> None:
    folder = FIXTURES / name
    if not folder.is_dir():
        pytest.skip(f"fixture folder {folder} is not present")
    network = StyleGAN1.from_state_dict(torch.load(folder / "stylegan1.for_g_all.pt", weights_only=True))
    expected = np.load(folder / "expected.npz")
    z = torch.from_numpy(np.load(folder / "latent_stylegan1.npy")).float()
    average = torch.from_numpy(np.load(folder / "avg_latent_stylegan1.npy")).float()
    with torch.no_grad():
        w_plus = truncate(broadcast_w(network.mapping(z), network.num_w_layers), average, 0.7, 8)
        rendered = network.synthesis(w_plus, zero_noise(network))

    def reduced(x: Tensor) -> Tensor:
        return F.interpolate(x, size=(64, 64), mode="bilinear", align_corners=False)[:, :, rows]

    features = torch.cat([reduced(feature) for feature in rendered.features], dim=1)  # [N, C, H, W]
    image, row, column = expected["pixel_index"].T
    assert [[f.channels, *f.resolution] for f in network.layers] == expected["layer_shapes"].tolist()
    assert_close(w_plus, expected["w_plus"])
    assert_close(reduced(rendered.images), expected["images_float"])
    assert_close(features[image, :, row, column], expected["pixel_features"])


def test_sizes_come_from_the_tensors() -> None:
    network = StyleGAN1.from_state_dict(small_network((8, 6, 4), 16).state_dict())
    assert (network.resolution, network.latent_size) == (16, 16)
    assert (network.min_w_layers, network.num_w_layers) == (6, 18)
    assert [layer.name for layer in network.layers] == [
        "b4_out",
        "b4_conv",
        "b8_out",
        "b8_conv",
        "b16_out",
        "b16_conv",
    ]
    assert network.noise_shapes == ((4, 4), (4, 4), (8, 8), (8, 8), (16, 16), (16, 16))


@pytest.mark.parametrize(
    ("num_blocks", "expected"), [(6, 8), (7, 7), (8, 8)]
)  # 128, 256 (the exception), 512
def test_default_truncation_is_8_layers_but_7_at_256(num_blocks: int, expected: int) -> None:
    assert StyleGAN1([2] * num_blocks, 4).default_truncation_layers == expected


def test_w_is_broadcast_to_more_than_18_rows_when_the_network_needs_them() -> None:
    with torch.device("meta"):
        assert StyleGAN1([2] * 10, 4).num_w_layers == 20


def test_features_have_the_announced_shapes_and_float32() -> None:
    network = small_network()
    rendered = network.synthesis(torch.randn(3, 7, 16), zero_noise(network))
    assert rendered.images.shape == (3, 3, 16, 16) and rendered.images.dtype == torch.float32
    assert [tuple(f.shape) for f in rendered.features] == [
        (3, f.channels, *f.resolution) for f in network.layers
    ]


def test_unused_w_rows_change_nothing() -> None:
    network = small_network()
    w_plus = torch.randn(2, 9, 16)
    longer = network.synthesis(w_plus, zero_noise(network)).images
    assert torch.equal(network.synthesis(w_plus[:, :6], zero_noise(network)).images, longer)


def rendered_with(network: StyleGAN1, noise: list[Tensor]) -> Rendered:
    torch.manual_seed(1)
    return network.synthesis(torch.randn(2, 6, 16), noise)


def test_noise_of_batch_one_serves_every_image() -> None:
    network = small_network()
    shared = [torch.randn(1, 1, *shape) for shape in network.noise_shapes]
    each = [noise.expand(2, -1, -1, -1) for noise in shared]
    assert torch.equal(rendered_with(network, shared).images, rendered_with(network, each).images)


def test_second_convolution_is_taken_before_its_noise() -> None:
    network = small_network()
    quiet, loud = zero_noise(network), zero_noise(network)
    loud[1] = torch.ones(1, 1, 4, 4).cumsum(dim=2)
    before, after = rendered_with(network, quiet).features, rendered_with(network, loud).features
    assert torch.equal(before[1], after[1])
    assert not torch.allclose(before[0], after[0])


def test_channels_last_gives_the_same_pictures_and_features(monkeypatch: pytest.MonkeyPatch) -> None:
    network = small_network()
    noise = [torch.randn(1, 1, *shape) for shape in network.noise_shapes]
    plain = rendered_with(network, noise)
    monkeypatch.setattr(tensors, "CHANNELS_LAST_FROM", 8)
    last = rendered_with(network, noise)
    assert last.features[-1].is_contiguous(memory_format=torch.channels_last)
    for found, expected in zip([last.images, *last.features], [plain.images, *plain.features], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("mean", [0.0, 100.0])
def test_adaptive_normalisation_is_exact_whatever_the_order_in_memory(
    order: torch.memory_format, mean: float
) -> None:
    torch.manual_seed(3)
    style = StyleMod(4, 8).requires_grad_(False)
    w, x = torch.randn(2, 8), torch.randn(2, 4, 300, 200) + mean
    exact = x.double()
    variance, average = torch.var_mean(exact, (2, 3), correction=0, keepdim=True)
    scale, shift = style.lin(w).view(2, 2, 4, 1, 1).unbind(1)
    expected = (exact - average) / (variance + 1e-5).sqrt() * (scale + 1) + shift
    found = style(x.contiguous(memory_format=order), w)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5 * (1 + mean))


def test_upscaling_below_128_is_nearest_then_convolution_then_blur() -> None:
    torch.manual_seed(2)
    layer = UpscaleConv(3, 5, fused=False)
    x = torch.randn(2, 3, 6, 6)
    upscaled = F.interpolate(x, scale_factor=2, mode="nearest")
    convolved = F.conv2d(upscaled, layer.weight * layer.weight_scale, padding=1)
    torch.testing.assert_close(layer(x), layer.intermediate(convolved, layer.bias), rtol=1e-5, atol=1e-5)


def test_state_dict_keeps_the_checkpoint_names() -> None:
    keys = set(small_network().state_dict())
    assert {
        "g_mapping.dense7.bias",
        "g_synthesis.torgb.weight",
        "g_synthesis.blocks.4x4.const",
        "g_synthesis.blocks.4x4.conv.weight",
        "g_synthesis.blocks.8x8.conv0_up.intermediate.kernel",
        "g_synthesis.blocks.16x16.epi2.top_epi.noise.weight",
        "g_synthesis.blocks.16x16.epi1.style_mod.lin.bias",
    } <= keys


def test_blur_kernels_may_be_absent_from_the_state_dict() -> None:
    network = small_network()
    state = {key: value for key, value in network.state_dict().items() if not key.endswith("kernel")}
    found = rendered_with(StyleGAN1.from_state_dict(state), zero_noise(network)).images.detach()
    assert torch.equal(found, rendered_with(network, zero_noise(network)).images)


def without(key: str) -> dict[str, Tensor]:
    return {name: value for name, value in small_network().state_dict().items() if name != key}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            without("g_mapping.dense0.weight"),
            "missing key 'g_mapping.dense0.weight'",
        ),  # sizes cannot be inferred
        (without("g_mapping.dense5.bias"), "missing key 'g_mapping.dense5.bias'"),
        (small_network().state_dict() | {"g_mapping.extra": torch.zeros(1)}, "unknown key 'g_mapping.extra'"),
        (
            small_network().state_dict() | {"g_mapping.dense3.bias": torch.zeros(5)},
            r"shape \(5,\), expected \(16\)",
        ),
        (
            {k: v for k, v in small_network().state_dict().items() if "8x8" not in k},
            r"blocks of side \[4, 16\]",  # a block in the middle is gone
        ),
    ],
)
def test_a_wrong_state_dict_is_named(state: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StyleGAN1.from_state_dict(state)


def test_more_sides_than_any_network_has_are_refused_before_they_are_built() -> None:
    state = small_network().state_dict()
    state |= {f"g_synthesis.blocks.{side}x{side}.x": torch.zeros(1) for side in range(100, 140)}
    with pytest.raises(ValueError, match="got blocks of 43 sides, expected at most 11"):
        StyleGAN1.from_state_dict(state)


def test_wrong_inputs_are_named() -> None:
    network = small_network()
    with pytest.raises(ValueError, match=r"got z of shape \(2, 15\), expected \(batch, 16\)"):
        network.mapping(torch.zeros(2, 15))
    with pytest.raises(ValueError, match="got 5 W\\+ rows, expected at least 6"):
        network.synthesis(torch.zeros(1, 5, 16), zero_noise(network))
    with pytest.raises(ValueError, match="got 5 noise maps, expected 6"):
        network.synthesis(torch.zeros(1, 6, 16), zero_noise(network)[:5])


@settings(deadline=None, max_examples=30)
@given(rows=st.integers(1, 18), layers=st.integers(0, 18), psi=st.floats(0.0, 1.0), full=st.booleans())
def test_truncation_moves_the_first_layers_only(rows: int, layers: int, psi: float, full: bool) -> None:
    layers = min(layers, rows)
    w_plus = torch.randn(2, rows, 5, generator=torch.Generator().manual_seed(rows))
    average = torch.linspace(-1, 1, 5)
    found = truncate(w_plus, average.expand(18, 5) if full else average, psi, layers)
    assert torch.equal(found[:, layers:], w_plus[:, layers:])
    torch.testing.assert_close(found[:, :layers], psi * w_plus[:, :layers] + (1 - psi) * average)


@pytest.mark.parametrize(
    ("average", "layers", "message"),
    [
        (torch.zeros(4), 2, r"average latent of shape \(4,\)"),  # another latent size
        (torch.zeros(1, 5), 2, r"at least 2, 5"),  # fewer rows than are truncated
        (torch.zeros(5), 7, "7 truncation layers, expected 0 to 6"),
    ],
)
def test_truncation_refuses_what_does_not_fit(average: Tensor, layers: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        truncate(torch.zeros(1, 6, 5), average, 0.7, layers)
