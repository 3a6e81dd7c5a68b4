"""StyleGAN2 against the original's outputs, a naive twin of its equations, and its shapes at the boundary."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.generator_files import TAPS, Sizes, random_tensors, write_ada
from support.places import FIXTURES
from torch import Tensor
from torch.nn import functional as F

from pipeline.checkpoints.loaders.budget import Budget
from pipeline.checkpoints.loaders.tensor_table import MAX_TENSORS
from pipeline.checkpoints.read import LoadedGenerator, load_generator
from pipeline.models import tensors
from pipeline.models.generator import broadcast_w, truncate
from pipeline.models.stylegan2 import StyleGAN2, StyleGAN2Plan, default_filter, filtered, upscaled

CONFIG_F = {512: 64, 256: 128, 128: 256, 64: 512, 1024: 32}


def fixture(name: str, file: str) -> tuple[LoadedGenerator, Path]:
    folder = FIXTURES / name
    if not folder.is_dir():
        pytest.skip(f"fixture folder {folder} is not present")
    return load_generator(folder / file), folder


def assert_as_expected(loaded: LoadedGenerator, w_plus: Tensor, folder: Path) -> None:
    expected = np.load(folder / "expected.npz")
    generator = loaded.generator
    assert generator.stored_noise is not None
    with torch.no_grad():
        rendered = generator.synthesis(w_plus, generator.stored_noise)
    side = generator.resolution
    resized = [F.interpolate(f, size=(side, side), mode="bilinear") for f in rendered.features]
    image, row, column = expected["pixel_index"].T
    features = torch.cat(resized, dim=1)[image, :, row, column]  # [200, C]
    assert [[f.channels, *f.resolution] for f in generator.layers] == expected["layer_shapes"].tolist()
    for found, name in ((w_plus, "w_plus"), (rendered.images, "images_float"), (features, "pixel_features")):
        wanted = expected[name]
        np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def test_outputs_equal_those_of_rosinalitys_port() -> None:
    loaded, folder = fixture("stylegan2_rosinality_32", "stylegan2_rosinality.pt")
    assert_as_expected(loaded, torch.from_numpy(np.load(folder / "latents_w_plus.npy")), folder)


def test_outputs_equal_those_of_stylegan2_ada() -> None:
    loaded, folder = fixture("stylegan2_ada_32", "network-snapshot.pkl")
    assert loaded.average_latent is not None
    z = torch.from_numpy(np.load(folder / "latents_z.npy")).float()
    with torch.no_grad():
        w_plus = broadcast_w(loaded.generator.mapping(z), loaded.generator.num_w_layers)
    average = torch.from_numpy(loaded.average_latent)
    w_plus = truncate(w_plus, average, 0.7, loaded.generator.default_truncation_layers)
    assert_as_expected(loaded, w_plus, folder)
    names = np.load(folder / "expected.npz")["layer_names"]
    assert [layer.name for layer in loaded.generator.layers] == [n.replace(".", "_") for n in names]


def naive_convolution(x: Tensor, weight: Tensor, *, up: bool) -> Tensor:
    """One image [1, C, r, r]: zeros between the pixels, the low-pass filter, the kernel, in that order."""
    if not up:
        return F.conv2d(x, weight, padding=1)
    stuffed = torch.zeros(1, x.shape[1], 2 * x.shape[2], 2 * x.shape[3])
    stuffed[:, :, ::2, ::2] = x
    kernel = (TAPS[:, None] * TAPS / 16).expand(x.shape[1], 1, 4, 4)
    smooth = F.conv2d(F.pad(stuffed, (3, 2, 3, 2)), kernel, groups=x.shape[1])
    return F.conv2d(smooth, weight.flip(2, 3))  # a convolution, where torch correlates


def naive_layer(
    t: Mapping[str, Tensor], path: str, x: Tensor, w: Tensor, sizes: Sizes, *, gain: float = 1.0
) -> Tensor:
    style = t[f"{path}.affine.weight"] @ w / math.sqrt(len(w)) + t[f"{path}.affine.bias"]
    weight = t[f"{path}.weight"] * style[None, :, None, None]
    weight = weight / torch.sqrt(weight.square().sum((1, 2, 3), keepdim=True) + 1e-8)
    x = naive_convolution(x, weight, up=path.endswith("conv0"))
    if sizes.noise:
        x = x + t[f"{path}.noise_const"] * t[f"{path}.noise_strength"]
    x = F.leaky_relu(x + t[f"{path}.bias"][:, None, None], 0.2) * math.sqrt(2) * gain
    bound = math.inf if sizes.conv_clamp is None else sizes.conv_clamp * gain
    return x.clamp(-bound, bound)


def naive_rgb(t: Mapping[str, Tensor], path: str, x: Tensor, w: Tensor, sizes: Sizes) -> Tensor:
    style = t[f"{path}.affine.weight"] @ w / math.sqrt(len(w)) + t[f"{path}.affine.bias"]
    weight = t[f"{path}.weight"] * style[None, :, None, None] / math.sqrt(x.shape[1])
    bound = math.inf if sizes.conv_clamp is None else sizes.conv_clamp
    return (F.conv2d(x, weight) + t[f"{path}.bias"][:, None, None]).clamp(-bound, bound)


def naive_upsampled(x: Tensor) -> Tensor:
    identity = torch.zeros(x.shape[1], x.shape[1], 3, 3)
    identity[range(x.shape[1]), range(x.shape[1]), 1, 1] = 1
    return naive_convolution(x, identity, up=True)


def naive_synthesis(t: Mapping[str, Tensor], w_plus: Tensor, sizes: Sizes) -> tuple[Tensor, list[Tensor]]:
    """Image and features of one W+ latent [L, D], layer by layer as the papers and the file's names say."""
    x, image, row = t["synthesis.b4.const"][None], None, 0
    features = [x]
    for side in sizes.sides:
        block, before = f"synthesis.b{side}", x
        is_resnet = sizes.architecture == "resnet" and side > 4
        for name in ("conv0", "conv1") if side > 4 else ("conv1",):
            gain = math.sqrt(0.5) if is_resnet and name == "conv1" else 1.0
            x = naive_layer(t, f"{block}.{name}", x, w_plus[row], sizes, gain=gain)
            features.append(x)
            row += 1
        if is_resnet:
            weight = t[f"{block}.skip.weight"] / math.sqrt(before.shape[1])
            x = naive_upsampled(F.conv2d(before, weight)) * math.sqrt(0.5) + x
        if image is not None:
            image = naive_upsampled(image)
        if f"{block}.torgb.weight" in t:
            rgb = naive_rgb(t, f"{block}.torgb", x, w_plus[row], sizes)
            image = rgb if image is None else image + rgb
    assert image is not None
    return image, features


def naive_mapping(t: Mapping[str, Tensor], z: Tensor, label: int | None, sizes: Sizes) -> Tensor:
    """W [D] of one Z."""
    x = z / torch.sqrt(z.square().mean() + 1e-8)
    if label is not None:
        one_hot = F.one_hot(torch.tensor(label), sizes.classes).float()
        y = t["mapping.embed.weight"] @ one_hot / math.sqrt(sizes.classes) + t["mapping.embed.bias"]
        x = torch.cat([x, y / torch.sqrt(y.square().mean() + 1e-8)])
    for index in range(sizes.mapping_layers):
        weight, bias = t[f"mapping.fc{index}.weight"], t[f"mapping.fc{index}.bias"]
        x = F.leaky_relu(weight @ x * 0.01 / math.sqrt(len(x)) + bias * 0.01, 0.2) * math.sqrt(2)
    return x


@pytest.mark.parametrize(
    "sizes",
    [
        Sizes(),
        Sizes(architecture="resnet"),
        Sizes(architecture="orig"),
        Sizes(conv_clamp=0.5),  # small enough to bind everywhere
        Sizes(architecture="resnet", conv_clamp=0.5),  # the bound is scaled by the block's sqrt(1/2)
        Sizes(mapping_layers=8, widths=(4, 4, 3, 2)),
        Sizes(z_size=5, w_size=9),
        Sizes(classes=3),
        Sizes(noise=False),
        Sizes(widths=(4,)),  # 4 x 4 pixels
    ],
    ids=str,
)
def test_every_variant_equals_a_naive_twin(tmp_path: Path, sizes: Sizes) -> None:
    tensors = random_tensors(sizes)
    label = 1 if sizes.classes else None
    generator = load_generator(write_ada(tmp_path / "n.pkl", tensors, sizes), label).generator
    z = torch.randn(2, sizes.z_size, generator=torch.Generator().manual_seed(1))
    w = generator.mapping(z)
    torch.testing.assert_close(w, torch.stack([naive_mapping(tensors, row, label, sizes) for row in z]))
    shape = (2, generator.num_w_layers, sizes.w_size)
    w_plus = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    rendered = generator.synthesis(w_plus, generator.stored_noise or ())
    for index in range(2):
        image, features = naive_synthesis(tensors, w_plus[index], sizes)
        torch.testing.assert_close(rendered.images[index : index + 1], image, rtol=1e-4, atol=1e-4)
        assert len(features) == len(rendered.features)
        for found, wanted in zip(rendered.features, features, strict=True):
            torch.testing.assert_close(found[index : index + 1], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("resolution", "width"), [(512, 6016), (1024, 6080)])  # as EditGAN counts them
def test_the_feature_widths_of_configuration_f(resolution: int, width: int) -> None:
    sides = [4 * 2**index for index in range(int(math.log2(resolution)) - 1)]
    widths = tuple(CONFIG_F.get(side, 512) for side in sides)
    with torch.device("meta"):
        network = StyleGAN2(StyleGAN2Plan(widths, 512, 512, 512, (512,) * 8))
    assert network.resolution == resolution
    assert sum(layer.channels for layer in network.layers) == width
    assert network.num_w_layers == 2 * len(widths)
    assert [layer.name for layer in network.layers[:4]] == ["b4_const", "b4_conv1", "b8_conv0", "b8_conv1"]
    assert network.noise_shapes[:3] == ((4, 4), (8, 8), (8, 8))
    tensors = [tensor.numel() for tensor in network.state_dict().values()]
    tensors += [math.prod(shape) for shape in network.noise_shapes]
    assert 3 * sum(tensors) < Budget().elements and 3 * len(tensors) < MAX_TENSORS  # what loaders allow


@pytest.mark.slow
def test_shaping_a_network_imports_no_compiler() -> None:
    code = "import sys, torch; from pipeline.models.stylegan2 import StyleGAN2, StyleGAN2Plan\n"
    code += "with torch.device('meta'): StyleGAN2(StyleGAN2Plan((4, 4), 4, 8, 8, (8,)))\n"
    code += "sys.exit('torch._dynamo' in sys.modules)"  # 2 seconds of a cold start
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def small_network() -> StyleGAN2:
    torch.manual_seed(0)
    return StyleGAN2(StyleGAN2Plan((6, 5), 6, 8, 8, (8, 8))).eval().requires_grad_(False)


def noise_of(network: StyleGAN2, batch: int = 1) -> list[Tensor]:
    return [torch.randn(batch, 1, *shape) for shape in network.noise_shapes]


def test_channels_last_gives_the_same_pictures_and_features(monkeypatch: pytest.MonkeyPatch) -> None:
    network = small_network()
    w_plus, noise = torch.randn(2, network.num_w_layers, network.latent_size), noise_of(network)
    plain = network.synthesis(w_plus, noise)
    monkeypatch.setattr(tensors, "CHANNELS_LAST_FROM", 8)
    last = network.synthesis(w_plus, noise)
    assert last.features[-1].is_contiguous(memory_format=torch.channels_last)
    for found, expected in zip([last.images, *last.features], [plain.images, *plain.features], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_features_have_the_announced_shapes() -> None:
    network = small_network()
    rendered = network.synthesis(torch.randn(3, 4, 8), noise_of(network))
    assert rendered.images.shape == (3, 3, 8, 8) and rendered.images.dtype == torch.float32
    assert [tuple(f.shape) for f in rendered.features] == [
        (3, layer.channels, *layer.resolution) for layer in network.layers
    ]


def test_features_are_not_overwritten_by_later_layers() -> None:
    network = small_network()
    w_plus, noise = torch.randn(1, 4, 8), noise_of(network)
    whole = network.synthesis(w_plus, noise).features
    const = network.synthesis_network.const
    torch.testing.assert_close(whole[0][0], const, rtol=0, atol=0)
    changed = w_plus.clone()
    changed[:, 2:] += 1  # the last convolution's row and the image's
    for before, after in zip(whole[:3], network.synthesis(changed, noise).features[:3], strict=True):
        assert torch.equal(before, after)


def test_further_w_rows_change_nothing_and_noise_may_be_of_each_image() -> None:
    network = small_network()
    for block in network.synthesis_network.blocks:
        block.conv1.noise_strength.fill_(0.5)
    w_plus, noise = torch.randn(2, 6, 8), noise_of(network)
    image = network.synthesis(w_plus, noise).images
    each = [one.expand(2, -1, -1, -1) for one in noise]
    assert torch.equal(network.synthesis(w_plus[:, :4], each).images, image)
    assert not torch.allclose(network.synthesis(w_plus, noise_of(network)).images, image)


def test_wrong_inputs_are_named() -> None:
    network = small_network()
    with pytest.raises(ValueError, match=r"got z of shape \(2, 9\), expected \(batch, 8\)"):
        network.mapping(torch.zeros(2, 9))
    with pytest.raises(ValueError, match="got 3 W\\+ rows, expected at least 4"):
        network.synthesis(torch.zeros(1, 3, 8), noise_of(network))
    with pytest.raises(ValueError, match="got 2 noise maps, expected 3"):
        network.synthesis(torch.zeros(1, 4, 8), noise_of(network)[:2])


def test_a_conditional_network_without_a_class_says_so() -> None:
    network = StyleGAN2(StyleGAN2Plan((4,), 4, 8, 8, (8,), class_labels=3, label_width=8))
    with pytest.raises(ValueError, match="a class label is needed, 0 to 2"):
        network.mapping(torch.zeros(1, 8))


def change(state: dict[str, Tensor], key: str, value: Tensor | None) -> dict[str, Tensor]:
    changed = {**state} if value is None else {**state, key: value}
    if value is None:
        del changed[key]
    return changed


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("synthesis_network.blocks.1.conv1.bias", None, "missing key"),
        ("synthesis_network.blocks.1.conv0.bias", torch.zeros(4), r"has shape \(4,\), expected \(5\)"),
        ("synthesis_network.blocks.0.skip", torch.zeros(1), "unknown key"),
        ("synthesis_network.resample_filter", torch.zeros(3, 3), "has 3 taps, expected an even number"),
        ("synthesis_network.const", torch.zeros(6, 8, 8), "images grow from 8 x 8; only generators"),
    ],
    ids=["missing", "wrong shape", "unknown", "odd filter", "another start"],
)
def test_a_state_that_does_not_fit_is_named(key: str, value: Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StyleGAN2.from_state(change(small_network().state_dict(), key, value))


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"z_size": 0, "label_width": 4, "class_labels": 3}, "expected at least one more, for Z"),
        ({"mapping_widths": (8, 5)}, "the last mapping layer has 5 outputs, expected 8"),
        ({"mapping_widths": (8,) * 65}, "more than 64 mapping layers"),
        ({"widths": (1,) * 12}, "12 blocks or more, expected 1 to 11"),
    ],
)
def test_sizes_that_no_generator_has_are_named(plan: dict[str, Any], message: str) -> None:
    sizes: dict[str, Any] = {"widths": (3, 2), "const_width": 3, "z_size": 8, "latent_size": 8}
    state = StyleGAN2(StyleGAN2Plan(**{**sizes, "mapping_widths": (8, 8), **plan})).state_dict()
    with pytest.raises(ValueError, match=message):
        StyleGAN2.from_state(state)


@pytest.mark.parametrize("taps", [(1.0, 1.0), (1.0, 3.0, 3.0, 1.0), (1.0, 2.0, 4.0, 5.0, 3.0, 1.0)])
def test_resampling_is_zero_insertion_and_convolution(taps: Sequence[float]) -> None:
    row = torch.tensor(taps)
    kernel = 4 * row[:, None] * row / row.sum() ** 2
    half = len(taps) // 2
    x = torch.randn(1, 2, 5, 5, generator=torch.Generator().manual_seed(3))
    stuffed = torch.zeros(1, 2, 10, 10)
    stuffed[:, :, ::2, ::2] = x
    weight = kernel.flip(0, 1).expand(2, 1, -1, -1)
    padded = F.pad(stuffed, (half, half - 1, half, half - 1))
    torch.testing.assert_close(upscaled(x, kernel), F.conv2d(padded, weight, groups=2))
    odd = torch.randn(1, 2, 11, 11, generator=torch.Generator().manual_seed(4))
    padded = F.pad(odd, (half - 1,) * 4)
    torch.testing.assert_close(filtered(odd, kernel), F.conv2d(padded, weight, groups=2))


def test_the_usual_filter_keeps_a_constant_image() -> None:
    image = upscaled(torch.ones(1, 3, 6, 6), default_filter())
    torch.testing.assert_close(image[:, :, 2:-2, 2:-2], torch.ones(1, 3, 8, 8))
