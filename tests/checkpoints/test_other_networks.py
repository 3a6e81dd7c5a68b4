"""Grey generators render; networks that are not supported are named for what they are, and never called
damaged.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.generator_files import (
    Network,
    Persistent,
    Sizes,
    _reconstruct_persistent_obj,
    fake_modules,
    random_tensors,
    rosinality_state,
    tensorflow_variables,
    write_ada,
    write_tensorflow,
)
from support.tiny_checkpoints import formats
from torch import Tensor

from pipeline.checkpoints.read import LoadedGenerator, load_generator
from pipeline.checkpoints.summary import summary_lines
from pipeline.errors import UsageError
from pipeline.models.generator import broadcast_w
from pipeline.models.stylegan1 import StyleGAN1

SIZES = Sizes()
ARCHITECTURES = ("skip", "resnet", "orig")
State = dict[str, Tensor]


def refusal(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        load_generator(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message and "whole and unmodified" not in message
    return message


def rendered(loaded: LoadedGenerator) -> tuple[Tensor, list[Tensor]]:
    generator = loaded.generator
    z = torch.randn(2, generator.z_size, generator=torch.Generator().manual_seed(1))
    w_plus = broadcast_w(generator.mapping(z), generator.num_w_layers)
    noise = generator.stored_noise or [torch.ones(1, 1, *shape) for shape in generator.noise_shapes]
    found = generator.synthesis(w_plus, noise)
    return found.images, found.features


def of_channels(tensors: State, channels: slice) -> State:
    """The ADA tensors of the generator that makes these channels of the RGB image alone."""
    return {
        name: tensor[channels] if name.endswith(("torgb.weight", "torgb.bias")) else tensor
        for name, tensor in tensors.items()
    }


def write(form: str, path: Path, tensors: State, sizes: Sizes) -> Path:
    if form == "ada":
        return write_ada(path, tensors, sizes)
    if form == "tensorflow":
        return write_tensorflow(path, tensors, sizes)
    state: State = tensors
    if form == "rosinality":
        channels = len(tensors["synthesis.b16.torgb.bias"])
        reshaped = {  # the maker of these files reshapes biases to three channels
            name: torch.zeros(3) if name.endswith("torgb.bias") else tensor
            for name, tensor in tensors.items()
        }
        state = rosinality_state(reshaped, sizes)
        for block, side in enumerate(sizes.sides):
            name = "to_rgb1.bias" if side == 4 else f"to_rgbs.{block - 1}.bias"
            state[name] = tensors[f"synthesis.b{side}.torgb.bias"].reshape(1, channels, 1, 1)
    torch.save(state, path)
    return path


FORMS = [
    *(("ada", a) for a in ARCHITECTURES), *(("tensorflow", a) for a in ARCHITECTURES),
    ("ada state dict", "skip"), ("rosinality", "skip"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "architecture"), FORMS)
def test_a_grey_stylegan2_is_one_channel_of_the_rgb_one_three_times(
    tmp_path: Path, form: str, architecture: str
) -> None:
    sizes = Sizes(architecture=architecture)
    tensors = random_tensors(sizes)
    rgb_images, rgb_features = rendered(load_generator(write(form, tmp_path / "rgb", tensors, sizes)))
    grey = load_generator(write(form, tmp_path / "grey", of_channels(tensors, slice(1, 2)), sizes))
    images, features = rendered(grey)
    assert images.shape == rgb_images.shape and grey.generator.image_channels == 1
    bound = 1e-5 * float(rgb_images.abs().max())
    torch.testing.assert_close(images, rgb_images[:, 1:2].expand(-1, 3, -1, -1), rtol=0, atol=bound)
    for found, wanted in zip(features, rgb_features, strict=True):
        assert torch.equal(found, wanted)
    assert any(line.startswith("image:") and "grey" in line for line in summary_lines(grey))


def grey_stylegan1(content: Any) -> Any:
    """The first of the three channels alone, in either file format of StyleGAN1."""
    if isinstance(content, dict):
        torgb = ("g_synthesis.torgb.weight", "g_synthesis.torgb.bias")
        return {name: tensor[:1] if name in torgb else tensor for name, tensor in content.items()}
    for network in content:
        for part in (network, *network.state["components"].values()):
            variables = [
                (name, v[..., :1] if "ToRGB_lod0" in name else v) for name, v in part.state["variables"]
            ]
            part.state["variables"] = variables
    return content


@pytest.mark.parametrize("form", ["StyleGAN1 zip", "StyleGAN1 TensorFlow"])
def test_a_grey_stylegan1_is_one_channel_of_the_rgb_one_three_times(tmp_path: Path, form: str) -> None:
    torch.manual_seed(0)
    content = formats()[form].content()
    (tmp_path / "rgb").write_bytes(formats()[form].write(content))
    (tmp_path / "grey").write_bytes(formats()[form].write(grey_stylegan1(content)))
    (rgb, rgb_features), (grey, features) = (
        rendered(load_generator(tmp_path / name)) for name in ("rgb", "grey")
    )
    torch.testing.assert_close(grey, rgb[:, :1].expand(-1, 3, -1, -1))
    assert all(torch.equal(found, wanted) for found, wanted in zip(features, rgb_features, strict=True))


@pytest.mark.parametrize(
    ("channels", "words"),
    [
        (4, "its images have 4 channels (RGB and alpha); only RGB (3) and grey (1) are supported"),
        (2, "2 channels (grey and alpha)"),
        (12, "wavelets"),
        (96, "its images have 96 channels; only RGB"),  # the tri-planes of EG3D
    ],
)
@pytest.mark.parametrize("form", ["ada", "tensorflow", "ada state dict", "rosinality"])
def test_images_of_other_channels_are_said_to_be_so(
    tmp_path: Path, form: str, channels: int, words: str
) -> None:
    tensors = of_channels(random_tensors(SIZES), slice(0, 1))
    wide = {
        name: tensor.repeat(channels, *[1] * (tensor.ndim - 1)) if len(tensor) == 1 else tensor
        for name, tensor in tensors.items()
        if tensor.ndim
    }
    wide = {**tensors, **{name: wide[name] for name in wide if ".torgb." in name and "affine" not in name}}
    assert words in refusal(write(form, tmp_path / "g", wide, SIZES))


@pytest.mark.parametrize(("height", "width"), [(4, 2), (2, 4), (8, 4), (4, 6)])
@pytest.mark.parametrize("form", ["ada", "tensorflow", "ada state dict", "rosinality"])
def test_rectangular_generators_are_said_to_be_so(tmp_path: Path, form: str, height: int, width: int) -> None:
    tensors = random_tensors(SIZES)
    tensors["synthesis.b4.const"] = torch.randn(SIZES.widths[0], height, width)
    message = refusal(write(form, tmp_path / "g", tensors, SIZES))
    assert f"its images are rectangular: they grow from {height} x {width}; only square generators" in message


def test_rectangular_stylegan1s_are_said_to_be_so(tmp_path: Path) -> None:
    state = dict(StyleGAN1((4, 4), 8).state_dict())
    torch.save({**state, "g_synthesis.blocks.4x4.const": torch.ones(1, 4, 4, 8)}, tmp_path / "g.pt")
    assert "rectangular: they grow from 4 x 8" in refusal(tmp_path / "g.pt")
    content = formats()["StyleGAN1 TensorFlow"].content()
    synthesis = content[-1].state["components"]["synthesis"]
    pairs = dict(synthesis.state["variables"])
    pairs["4x4/Const/const"] = pairs["4x4/Const/const"].repeat(2, axis=2)
    synthesis.state["variables"] = list(pairs.items())
    (tmp_path / "g.pkl").write_bytes(formats()["StyleGAN1 TensorFlow"].write(content))
    assert "rectangular: they grow from 8 x 4" in refusal(tmp_path / "g.pkl")


def weights(*names: str) -> State:
    return {name: torch.ones(2, 2) for name in names}


OTHERS: dict[str, tuple[Callable[[], Any], str]] = {
    "StyleGAN3": (
        lambda: weights("mapping.fc0.weight", "synthesis.input.freqs", "synthesis.L0_36_512.affine.weight"),
        "a StyleGAN3 generator",
    ),
    "StyleGAN3 beside others": (
        lambda: {"G_ema": weights("synthesis.L0_36_512.weight"), "D": weights("b4.fc.weight")},
        "a StyleGAN3 generator",
    ),
    "rosinality's discriminator": (
        lambda: {"d": weights("convs.0.0.weight", "final_conv.0.weight", "final_linear.0.weight")},
        "a discriminator",
    ),
    "ADA's discriminator": (
        lambda: weights("b8.fromrgb.weight", "b4.fc.weight", "b4.out.weight"),
        "a discriminator",
    ),
    "pSp's encoder": (
        lambda: {"state_dict": weights("encoder.input_layer.0.weight", "encoder.styles.0.convs.0.weight")},
        "an encoder of images",
    ),
    "BigGAN": (
        lambda: weights("shared.weight", "linear.weight", "blocks.0.0.bn1.gain.weight"),
        "a BigGAN generator",
    ),
    "guided diffusion": (
        lambda: weights("time_embed.0.weight", "input_blocks.0.0.weight"),
        "a diffusion model",
    ),
    "Stable Diffusion": (
        lambda: {"state_dict": weights("model.diffusion_model.time_embed.0.weight", "cond_stage_model.x")},
        "a diffusion model",
    ),
    "VQGAN": (
        lambda: {"state_dict": weights("quantize.embedding.weight", "decoder.conv_in.weight")},
        "an autoencoder",
    ),
    "MMGeneration": (
        lambda: {
            "state_dict": weights(
                "generator_ema.style_mapping.1.weight", "generator_ema.constant_input.weight"
            )
        },
        "a StyleGAN2 in the format of MMGeneration",
    ),
    "GenForce": (
        lambda: {"generator_smooth": weights("mapping.dense0.weight", "synthesis.layer0.weight")},
        "a StyleGAN in the format of GenForce",
    ),
    "style-based-gan-pytorch": (
        lambda: {
            "g_running": weights("generator.progression.0.conv1.0.weight", "style.1.linear.weight_orig")
        },
        "a StyleGAN1 of style-based-gan-pytorch",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_network_is_named_and_said_not_to_be_supported(tmp_path: Path, name: str) -> None:
    content, kind = OTHERS[name]
    torch.save(content(), tmp_path / "other.pt")
    assert f"found {kind}, which is not supported; expected a StyleGAN1 generator" in refusal(
        tmp_path / "other.pt"
    )


def test_a_mapping_network_without_a_synthesis_network_is_said_to_be_one(tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in random_tensors(SIZES).items() if "b4.const" not in name}
    torch.save(state, tmp_path / "m.pt")
    assert "found a mapping network, and no tensor that a synthesis network has" in refusal(tmp_path / "m.pt")


def test_a_pickled_stylegan3_is_named(tmp_path: Path) -> None:
    layer = Persistent("SynthesisLayer", _parameters={"weight": torch.ones(1)})
    synthesis = Persistent("SynthesisNetwork", _modules={"L0_36_512": layer})
    root = Persistent("Generator", _modules={"mapping": Persistent("MappingNetwork"), "synthesis": synthesis})
    with fake_modules(torch_utils__persistence={"_reconstruct_persistent_obj": _reconstruct_persistent_obj}):
        (tmp_path / "g.pkl").write_bytes(pickle.dumps({"G": root, "D": Persistent("D"), "G_ema": root}))
    assert "found a StyleGAN3 generator, which is not supported" in refusal(tmp_path / "g.pkl")


def test_layers_without_a_constant_are_another_network(tmp_path: Path) -> None:
    """StyleSDF's second stage has StyleGAN2's layers, and begins with what it renders."""
    state = rosinality_state(random_tensors(SIZES), SIZES)
    del state["input.input"]
    torch.save({"g_ema": {f"decoder.{name}": tensor for name, tensor in state.items()}}, tmp_path / "g.pt")
    assert "no learned constant ('input.input')" in refusal(tmp_path / "g.pt")


def test_a_key_picks_a_network_of_a_tensorflow_file(tmp_path: Path) -> None:
    tensors, others = random_tensors(SIZES), random_tensors(SIZES, seed=1)
    content = {
        name: Network(name, tensorflow_variables(each, SIZES, joint=False), {})
        for name, each in (("G", others), ("D", others), ("Gs", tensors))
    }
    with fake_modules(dnnlib__tflib__network={"Network": Network}):
        (tmp_path / "t.pkl").write_bytes(pickle.dumps(tuple(content.values())))
    by_default, named = load_generator(tmp_path / "t.pkl"), load_generator(tmp_path / "t.pkl", key="Gs")
    assert (by_default.key, named.key) == (None, None)
    other = load_generator(tmp_path / "t.pkl", key="G")
    assert other.key == "G" and not torch.equal(rendered(other)[0], rendered(by_default)[0])
    with pytest.raises(UsageError, match="no network 'X'; --key may be 'G' or 'D' or 'Gs'"):
        load_generator(tmp_path / "t.pkl", key="X")
