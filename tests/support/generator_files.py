"""Writes StyleGAN2 generators of random weights in every format that is read, from one set of tensors.

The tensors bear the names and scales of stylegan2-ada-pytorch (weights unscaled). The other formats are
written by the rules that are published for converting between them; nothing of the loaders is used.
"""

from __future__ import annotations

import math
import pickle
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0])


@dataclass(frozen=True)
class Sizes:
    """What a written generator is. `widths`: channels of 4x4, 8x8, ..."""

    widths: tuple[int, ...] = (6, 5, 4)
    z_size: int = 8
    w_size: int = 8
    mapping_layers: int = 2
    architecture: str = "skip"
    classes: int = 0
    noise: bool = True
    conv_clamp: float | None = None

    @property
    def sides(self) -> list[int]:
        return [4 * 2**index for index in range(len(self.widths))]


def random_tensors(sizes: Sizes, seed: int = 0) -> dict[str, Tensor]:
    """Names and shapes of a stylegan2-ada-pytorch generator; all values normal, so that none is neutral."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random)

    found: dict[str, Tensor] = {}

    def dense(path: str, num_in: int, num_out: int, scale: float = 1.0) -> None:
        found[f"{path}.weight"], found[f"{path}.bias"] = (
            normal(num_out, num_in) * scale,
            normal(num_out) * 0.3,
        )

    width = sizes.z_size + (sizes.w_size if sizes.classes else 0)
    if sizes.classes:
        dense("mapping.embed", sizes.classes, sizes.w_size)
    for index in range(sizes.mapping_layers):
        dense(f"mapping.fc{index}", width, sizes.w_size, 100.0)
        width = sizes.w_size
    found["mapping.w_avg"] = normal(sizes.w_size)
    found["synthesis.b4.const"] = normal(sizes.widths[0], 4, 4)
    previous = sizes.widths[0]
    for side, channels in zip(sizes.sides, sizes.widths, strict=True):
        block = f"synthesis.b{side}"
        for name in ("conv0", "conv1") if side > 4 else ("conv1",):
            path = f"{block}.{name}"
            num_in = previous if name == "conv0" else channels
            found[f"{path}.weight"] = normal(channels, num_in, 3, 3)
            found[f"{path}.bias"] = normal(channels) * 0.3
            dense(f"{path}.affine", sizes.w_size, num_in)
            if sizes.noise:
                found[f"{path}.noise_strength"] = normal()
                found[f"{path}.noise_const"] = normal(side, side)
            found[f"{path}.resample_filter"] = TAPS[:, None] * TAPS / 64
        if sizes.architecture == "skip" or side == sizes.sides[-1]:
            found[f"{block}.torgb.weight"] = normal(3, channels, 1, 1)
            found[f"{block}.torgb.bias"] = normal(3) * 0.3
            dense(f"{block}.torgb.affine", sizes.w_size, channels)
        if sizes.architecture == "resnet" and side > 4:
            found[f"{block}.skip.weight"] = normal(channels, previous, 1, 1)
        found[f"{block}.resample_filter"] = TAPS[:, None] * TAPS / 64
        previous = channels
    return found


@contextmanager
def fake_modules(**members: Mapping[str, Any]) -> Iterator[None]:
    """Modules that the pickling of foreign classes looks for, gone afterwards; dots are written ``__``."""
    names = []
    for name, attributes in members.items():
        parts = name.split("__")
        for end in range(1, len(parts) + 1):
            dotted = ".".join(parts[:end])
            if dotted not in sys.modules:
                sys.modules[dotted] = types.ModuleType(dotted)
                names.append(dotted)
        for attribute, value in attributes.items():
            value.__module__ = ".".join(parts)
            setattr(sys.modules[".".join(parts)], attribute, value)
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


def _reconstruct_persistent_obj(meta: Any) -> None:
    raise AssertionError("only ever pickled by name")


class Persistent:
    """Pickles as a persistent module does: a call of the function above with its class's name and state."""

    def __init__(self, class_name: str, **attributes: Any) -> None:
        self.meta = {
            "type": "class",
            "version": 6,
            "module_src": "raise SystemExit('module source was executed')",
            "class_name": class_name,
            "state": {"training": False, "_parameters": {}, "_buffers": {}, "_modules": {}, **attributes},
        }

    @property
    def state(self) -> dict[str, Any]:
        return self.meta["state"]

    def __reduce__(self) -> tuple[Any, ...]:
        return _reconstruct_persistent_obj, (self.meta,)


BUFFERS = ("resample_filter", "noise_const", "w_avg")


def persistent_generator(tensors: Mapping[str, Tensor], sizes: Sizes) -> Persistent:
    """The tree of modules of a generator with the attributes that the original has."""
    root = Persistent("Generator", z_dim=sizes.z_size, c_dim=sizes.classes, w_dim=sizes.w_size)
    for name, tensor in tensors.items():
        *path, leaf = name.split(".")
        module = root
        for depth, part in enumerate(path):
            children = module.state["_modules"]
            if part not in children:
                children[part] = Persistent(part, **_attributes(".".join(path[: depth + 1]), tensors, sizes))
            module = children[part]
        group = "_buffers" if leaf in BUFFERS else "_parameters"
        module.state[group][leaf] = tensor if leaf in BUFFERS else torch.nn.Parameter(tensor)
    return root


def _attributes(path: str, tensors: Mapping[str, Tensor], sizes: Sizes) -> dict[str, Any]:
    last = path.rsplit(".", 1)[-1]
    if last.startswith("fc") or last in ("affine", "embed"):
        rate = 0.01 if last.startswith("fc") else 1.0
        num_in = tensors[f"{path}.weight"].shape[1]
        activation = "lrelu" if last.startswith("fc") else "linear"
        return {"weight_gain": rate / np.sqrt(num_in), "bias_gain": rate, "activation": activation}
    if last in ("conv0", "conv1"):
        return {"activation": "lrelu", "conv_clamp": sizes.conv_clamp}
    if last in ("torgb", "skip"):
        gain = 1 / np.sqrt(tensors[f"{path}.weight"].shape[1])
        return {"weight_gain": gain, "conv_clamp": sizes.conv_clamp if last == "torgb" else None}
    return {"architecture": sizes.architecture} if last.startswith("b") else {}


def write_ada(path: Path, tensors: Mapping[str, Tensor], sizes: Sizes) -> Path:
    """A stylegan2-ada-pytorch ``network-snapshot.pkl``; its G has other weights than its G_ema."""
    other = {name: tensor + 1 for name, tensor in tensors.items()}
    with fake_modules(torch_utils__persistence={"_reconstruct_persistent_obj": _reconstruct_persistent_obj}):
        content = {
            "G": persistent_generator(other, sizes),
            "D": Persistent("Discriminator"),
            "G_ema": persistent_generator(tensors, sizes),
            "training_set_kwargs": None,
            "augment_pipe": None,
        }
        path.write_bytes(pickle.dumps(content))
    return path


def rosinality_state(tensors: Mapping[str, Tensor], sizes: Sizes) -> dict[str, Tensor]:
    """A rosinality state dict of the same stored weights; mapping biases are stored before their 0.01 there
    as here.
    """
    state = {"input.input": tensors["synthesis.b4.const"][None]}
    for index in range(sizes.mapping_layers):
        state[f"style.{index + 1}.weight"] = tensors[f"mapping.fc{index}.weight"]
        state[f"style.{index + 1}.bias"] = tensors[f"mapping.fc{index}.bias"]
    kernel = TAPS[:, None] * TAPS / 16
    for block, side in enumerate(sizes.sides):
        source = f"synthesis.b{side}"
        first, second = ("", "conv1") if side == 4 else (f"convs.{2 * block - 2}", f"convs.{2 * block - 1}")
        for name, target in (("conv0", first), ("conv1", second)):
            if target:
                state |= _rosinality_layer(tensors, f"{source}.{name}", target)
                state[f"{target}.activate.bias"] = tensors[f"{source}.{name}.bias"]
                state[f"{target}.noise.weight"] = tensors[f"{source}.{name}.noise_strength"].reshape(1)
                number = 2 * block - (1 if name == "conv0" else 0)
                state[f"noises.noise_{number}"] = tensors[f"{source}.{name}.noise_const"][None, None]
        if side > 4:
            state[f"{first}.conv.blur.kernel"] = kernel
            state[f"to_rgbs.{block - 1}.upsample.kernel"] = kernel
        target = "to_rgb1" if side == 4 else f"to_rgbs.{block - 1}"
        state |= _rosinality_layer(tensors, f"{source}.torgb", target)
        state[f"{target}.bias"] = tensors[f"{source}.torgb.bias"].reshape(1, 3, 1, 1)
    return state


def _rosinality_layer(tensors: Mapping[str, Tensor], source: str, target: str) -> dict[str, Tensor]:
    return {
        f"{target}.conv.weight": tensors[f"{source}.weight"][None],
        f"{target}.conv.modulation.weight": tensors[f"{source}.affine.weight"],
        f"{target}.conv.modulation.bias": tensors[f"{source}.affine.bias"],
    }


def write_rosinality(path: Path, tensors: Mapping[str, Tensor], sizes: Sizes) -> Path:
    content = {"g_ema": rosinality_state(tensors, sizes), "latent_avg": tensors["mapping.w_avg"]}
    torch.save(content, path)
    return path


class Network:
    """Pickles as ``dnnlib.tflib.network.Network`` does: its state alone."""

    def __init__(self, name: str, variables: Mapping[str, np.ndarray], kwargs: dict[str, Any]) -> None:
        self.state = {
            "version": 4,
            "name": name,
            "static_kwargs": kwargs,
            "components": {},
            "build_module_src": "raise SystemExit('module source was executed')",
            "build_func_name": name,
            "variables": list(variables.items()),
        }

    def __getstate__(self) -> dict[str, Any]:
        return self.state


def tensorflow_variables(
    tensors: Mapping[str, Tensor], sizes: Sizes, *, joint: bool
) -> dict[str, np.ndarray]:
    """Variables of the same stored weights by the published conversion: (k, k, in, out) kernels, upscaling
    ones turned, styles' biases less 1. `joint`: the label's embedding as the first StyleGAN2 has it.
    """
    found: dict[str, Tensor] = {}
    for index in range(sizes.mapping_layers):
        found[f"mapping/Dense{index}/weight"] = tensors[f"mapping.fc{index}.weight"].T
        found[f"mapping/Dense{index}/bias"] = tensors[f"mapping.fc{index}.bias"]
    if sizes.classes and joint:
        scale = math.sqrt(sizes.classes)
        found["mapping/LabelConcat/weight"] = tensors["mapping.embed.weight"].T / scale
    elif sizes.classes:
        found["mapping/LabelEmbed/weight"] = tensors["mapping.embed.weight"].T
        found["mapping/LabelEmbed/bias"] = tensors["mapping.embed.bias"]
    found["dlatent_avg"] = tensors["mapping.w_avg"]
    found["synthesis/4x4/Const/const"] = tensors["synthesis.b4.const"][None]
    number = 0
    for side in sizes.sides:
        source, block = f"synthesis.b{side}", f"synthesis/{side}x{side}"
        for name in ("conv0", "conv1") if side > 4 else ("conv1",):
            target = f"{block}/{'Conv0_up' if name == 'conv0' else 'Conv1' if side > 4 else 'Conv'}"
            found |= _tensorflow_layer(tensors, f"{source}.{name}", target, turned=name == "conv0")
            if sizes.noise:
                found[f"{target}/noise_strength"] = tensors[f"{source}.{name}.noise_strength"]
                found[f"synthesis/noise{number}"] = tensors[f"{source}.{name}.noise_const"][None, None]
            number += 1
        if f"{source}.torgb.weight" in tensors:
            found |= _tensorflow_layer(tensors, f"{source}.torgb", f"{block}/ToRGB", turned=False)
        if f"{source}.skip.weight" in tensors:
            found[f"{block}/Skip/weight"] = tensors[f"{source}.skip.weight"].permute(2, 3, 1, 0)
    return {name: np.ascontiguousarray(value.numpy()) for name, value in found.items()}


def _tensorflow_layer(
    tensors: Mapping[str, Tensor], source: str, target: str, *, turned: bool
) -> dict[str, Tensor]:
    weight = tensors[f"{source}.weight"].permute(2, 3, 1, 0)  # [k, k, in, out]
    return {
        f"{target}/weight": weight.flip(0, 1) if turned else weight,
        f"{target}/bias": tensors[f"{source}.bias"],
        f"{target}/mod_weight": tensors[f"{source}.affine.weight"].T,
        f"{target}/mod_bias": tensors[f"{source}.affine.bias"] - 1,
    }


def write_tensorflow(
    path: Path,
    tensors: Mapping[str, Tensor],
    sizes: Sizes,
    *,
    joint: bool = False,
    flat: bool = False,
    **kwargs: Any,
) -> Path:
    """A triple (G, D, Gs) of TensorFlow networks; `flat` keeps all variables in the network itself."""
    variables = tensorflow_variables(tensors, sizes, joint=joint)
    known = {"resolution": sizes.sides[-1], "num_channels": 3, "architecture": sizes.architecture}
    known |= {"label_size": sizes.classes, "conv_clamp": sizes.conv_clamp, **kwargs}
    with fake_modules(dnnlib__tflib__network={"Network": Network}):
        if flat:
            spelled = {name.replace("mapping/", "G_mapping/"): value for name, value in variables.items()}
            spelled = {name.replace("synthesis/", "G_synthesis/"): value for name, value in spelled.items()}
            network = Network("Gs", spelled, known)
        else:
            own = {name: value for name, value in variables.items() if "/" not in name}
            network = Network("Gs", {"lod": np.float32(0), **own}, known)
            for part in ("mapping", "synthesis"):
                inner = {k[len(part) + 1 :]: v for k, v in variables.items() if k.startswith(f"{part}/")}
                network.state["components"][part] = Network(f"G_{part}", inner, known)
        others = [Network("G", {"lod": np.float32(0)}, {}), Network("D", {"lod": np.float32(0)}, {})]
        path.write_bytes(pickle.dumps((*others, network), protocol=3))
    return path
