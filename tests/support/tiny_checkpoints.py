"""Checkpoint files of a few kilobytes in every supported format, made without the programs that make such."""

from __future__ import annotations

import argparse
import io
import pickle
import re
import struct
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from pipeline.models.stylegan1 import StyleGAN1

LATENT, WIDTH = 6, 4
MODULE_SOURCE = "import os\nos.system('touch it_ran')  # what a reader must never run\n"
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Format:
    """How a file format's content is made and written."""

    content: Callable[[], Any]
    """Makes it anew, of dicts, lists, tuples, tensors, arrays, `Persistent` and `Network`."""
    write: Callable[[Any], bytes]


def formats() -> dict[str, Format]:
    """Every supported format by name."""
    return {
        "StyleGAN1 zip": Format(port_state, torch_saved),
        "StyleGAN1 legacy": Format(port_state, legacy_saved),
        "rosinality zip": Format(rosinality_training, torch_saved),
        "rosinality legacy": Format(rosinality_training, legacy_saved),
        "safetensors": Format(lambda: rosinality_training()["g_ema"], safetensors_saved),
        "persistent modules": Format(nvidia_snapshot, lambda content: pickled(content, 4)),
        "persistent modules, protocol 2": Format(nvidia_snapshot, lambda content: pickled(content, 2)),
        "StyleGAN1 TensorFlow": Format(
            lambda: tf_triple(tf_stylegan1(), {"use_wscale": True}), lambda content: pickled(content, 3)
        ),
        "StyleGAN2 TensorFlow": Format(
            lambda: tf_triple(tf_stylegan2(), {"architecture": "skip"}), lambda content: pickled(content, 2)
        ),
    }


def tiny_checkpoints() -> dict[str, bytes]:
    """Name of a format -> bytes of a file that loads."""
    torch.manual_seed(0)
    return {name: written.write(written.content()) for name, written in formats().items()}


def port_state() -> dict[str, Tensor]:
    return dict(StyleGAN1((WIDTH, WIDTH), LATENT).state_dict())


def safetensors_saved(content: dict[Any, Any]) -> bytes:
    """A safetensors file of the tensors in a dict; the library writes nothing else."""
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    return save({name: tensor.contiguous().clone() for name, tensor in tensors.items()})


def torch_saved(content: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


class Stored(bytes):
    """The bytes of one tensor, which stand outside of the pickle."""


class LegacyPickler(pickle.Pickler):
    """Numbers the storages; PyTorch names them by their addresses, which vary."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, 2)
        self.storages: dict[str, Stored] = {}

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return NotImplemented
        octets = Stored(value.numpy().tobytes())
        args = (octets, 0, tuple(value.shape), value.contiguous().stride(), False, OrderedDict())
        return torch._utils._rebuild_tensor_v2, args

    def persistent_id(self, value: Any) -> tuple[Any, ...] | None:
        if not isinstance(value, Stored):
            return None
        key = f"{len(self.storages):014}"
        self.storages[key] = value
        return ("storage", torch.FloatStorage, key, "cpu", len(value) // 4, None)


def legacy_saved(content: Any) -> bytes:
    """What ``torch.save(..., _use_new_zipfile_serialization=False)`` writes, the same at every run."""
    stream = io.BytesIO()
    for header in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}):
        pickle.dump(header, stream, 2)
    pickler = LegacyPickler(stream)
    pickler.dump(content)
    pickle.dump(sorted(pickler.storages), stream, 2)
    for _, octets in sorted(pickler.storages.items()):
        stream.write(struct.pack("<q", len(octets) // 4) + octets)
    return stream.getvalue()


def pickled(content: Any, protocol: int) -> bytes:
    """A pickle under the foreign classes' names, and with zeros for the storages' keys, their addresses."""
    with foreign_modules():
        found = pickle.dumps(content, protocol)
    return re.sub(rb"(?<![0-9])[0-9]{12,16}(?=q)", lambda key: b"0" * len(key[0]), found)


# ---- rosinality ---------------------------------------------------------------------------------


def rosinality_state() -> dict[str, Tensor]:
    state = {"input.input": torch.randn(1, WIDTH, 4, 4)}
    for layer in (1, 2):
        state |= {
            f"style.{layer}.weight": torch.randn(LATENT, LATENT),
            f"style.{layer}.bias": torch.ones(LATENT),
        }
    for name in ("conv1", "convs.0", "convs.1"):
        state |= modulated(f"{name}.conv", (1, WIDTH, WIDTH, 3, 3))
        state |= {f"{name}.noise.weight": torch.zeros(1), f"{name}.activate.bias": torch.zeros(WIDTH)}
    for name in ("to_rgb1", "to_rgbs.0"):
        state |= modulated(f"{name}.conv", (1, 3, WIDTH, 1, 1))
        state[f"{name}.bias"] = torch.zeros(1, 3, 1, 1)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = 4 * torch.outer(taps, taps) / taps.sum() ** 2
    state |= {"convs.0.conv.blur.kernel": kernel, "to_rgbs.0.upsample.kernel": kernel}
    return state | {f"noises.noise_{i}": torch.randn(1, 1, side, side) for i, side in enumerate((4, 8, 8))}


def modulated(name: str, shape: tuple[int, ...]) -> dict[str, Tensor]:
    return {
        f"{name}.weight": torch.randn(shape),
        f"{name}.modulation.weight": torch.randn(WIDTH, LATENT),
        f"{name}.modulation.bias": torch.ones(WIDTH),
    }


def rosinality_training() -> dict[str, Any]:
    args = argparse.Namespace(size=8, lr=0.002)
    return {"g_ema": rosinality_state(), "latent_avg": torch.zeros(LATENT), "args": args}


# ---- NVIDIA's pickles ---------------------------------------------------------------------------


@contextmanager
def foreign_modules() -> Iterator[None]:
    """Lets pickle find the foreign names that it writes."""
    modules = {name: ModuleType(name) for name in ("torch_utils.persistence", "dnnlib.tflib.network")}
    for name in ("torch_utils", "dnnlib", "dnnlib.tflib"):
        modules[name] = ModuleType(name)
    vars(modules["torch_utils.persistence"])["_reconstruct_persistent_obj"] = _reconstruct_persistent_obj
    vars(modules["dnnlib.tflib.network"])["Network"] = Network
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]


def _reconstruct_persistent_obj(meta: dict[str, Any]) -> Any:
    raise AssertionError("a file had a function called")


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"


class Persistent:
    """A module as `torch_utils.persistence` pickles it."""

    def __init__(self, class_name: str, attributes: dict[str, Any], **children: Any) -> None:
        tensors = {k: v for k, v in attributes.items() if isinstance(v, Tensor)}
        numbers = {k: v for k, v in attributes.items() if k not in tensors}
        parameters = {k: torch.nn.Parameter(v) for k, v in tensors.items() if "noise_const" not in k}
        buffers = {k: v for k, v in tensors.items() if "noise_const" in k}
        self.class_name = class_name
        self.state = {
            "training": False,
            "_parameters": OrderedDict(parameters),
            "_buffers": OrderedDict(buffers),
            "_non_persistent_buffers_set": set(),
            "_backward_hooks": OrderedDict(),
            "_modules": OrderedDict(children),
            **numbers,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        meta = {"type": "class", "version": 6, "module_src": MODULE_SOURCE, "class_name": self.class_name}
        return _reconstruct_persistent_obj, ({**meta, "state": self.state},)


def nvidia_snapshot() -> dict[str, Any]:
    return {"G": None, "G_ema": nvidia_generator(), "training_set_kwargs": {"path": "data.zip"}}


def nvidia_generator() -> Persistent:
    layers = {f"fc{i}": dense(LATENT, LATENT, activation="lrelu", weight_gain=0.01) for i in range(2)}
    mapping = Persistent("MappingNetwork", {"num_layers": 2, "w_avg": torch.zeros(LATENT)}, **layers)
    b4 = {"conv1": convolution(4), "torgb": to_rgb()}
    b8 = {"conv0": convolution(8), "conv1": convolution(8), "torgb": to_rgb()}
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    filters = {"resample_filter": torch.outer(taps, taps), "architecture": "skip"}
    blocks = {
        "b4": Persistent("SynthesisBlock", {"const": torch.randn(WIDTH, 4, 4), **filters}, **b4),
        "b8": Persistent("SynthesisBlock", filters, **b8),
    }
    synthesis = Persistent("SynthesisNetwork", {"img_resolution": 8}, **blocks)
    shape = {"z_dim": LATENT, "c_dim": 0, "w_dim": LATENT}
    return Persistent("Generator", shape, mapping=mapping, synthesis=synthesis)


def dense(num_in: int, num_out: int, **numbers: Any) -> Persistent:
    tensors = {"weight": torch.randn(num_out, num_in), "bias": torch.zeros(num_out)}
    return Persistent("FullyConnectedLayer", {**tensors, **numbers})


def convolution(side: int) -> Persistent:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    tensors = {"weight": torch.randn(WIDTH, WIDTH, 3, 3), "bias": torch.zeros(WIDTH)}
    noise = {"noise_const": torch.randn(side, side), "noise_strength": torch.zeros([])}
    attributes = {**tensors, **noise, "resample_filter": torch.outer(taps, taps), "conv_clamp": 256}
    return Persistent("SynthesisLayer", {**attributes, "activation": "lrelu"}, affine=dense(LATENT, WIDTH))


def to_rgb() -> Persistent:
    attributes = {"weight": torch.randn(3, WIDTH, 1, 1), "bias": torch.zeros(3), "conv_clamp": 256}
    return Persistent("ToRGBLayer", attributes, affine=dense(LATENT, WIDTH))


# ---- TensorFlow ---------------------------------------------------------------------------------


class Network:
    """A network as `dnnlib.tflib` pickles it."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    def __getstate__(self) -> dict[str, Any]:
        return self.state

    def __setstate__(self, state: dict[str, Any]) -> None:
        raise AssertionError("a file had a method called")


Network.__module__ = "dnnlib.tflib.network"


def tf_triple(variables: Arrays, static_kwargs: dict[str, Any]) -> tuple[Network, ...]:
    """(G, D, Gs), the generator's parts in components of their own."""

    def network(name: str, variables: Arrays, components: dict[str, Network]) -> Network:
        state = {"version": 4, "name": name, "static_kwargs": static_kwargs, "components": components}
        source = {"build_module_src": MODULE_SOURCE, "build_func_name": "G_style"}
        return Network({**state, **source, "variables": list(variables.items())})

    parts = {
        part: {k.removeprefix(f"{part}/"): v for k, v in variables.items() if k.startswith(f"{part}/")}
        for part in ("mapping", "synthesis")
    }
    components = {part: network(f"G_{part}", arrays, {}) for part, arrays in parts.items()}
    top = {"lod": np.float32(0), "dlatent_avg": np.zeros(LATENT, np.float32)}
    generators = [network(name, top, components) for name in ("G", "Gs")]
    return generators[0], network("D", {"4x4/Dense0/bias": np.zeros(2, np.float32)}, {}), generators[1]


def random(*shape: int) -> np.ndarray:
    return torch.randn(shape).numpy()


def tf_dense(name: str, num_in: int, num_out: int) -> Arrays:
    return {f"{name}/weight": random(num_in, num_out), f"{name}/bias": random(num_out)}


def tf_stylegan1() -> Arrays:
    found: Arrays = {}
    for index in range(8):
        found |= tf_dense(f"mapping/Dense{index}", LATENT, LATENT)
    found["synthesis/4x4/Const/const"] = random(1, WIDTH, 4, 4)
    found["synthesis/4x4/Const/bias"] = random(WIDTH)
    for layer in ("4x4/Const", "4x4/Conv", "8x8/Conv0_up", "8x8/Conv1"):
        found |= tf_dense(f"synthesis/{layer}/StyleMod", LATENT, 2 * WIDTH)
        found[f"synthesis/{layer}/Noise/weight"] = random(WIDTH)
    for layer in ("4x4/Conv", "8x8/Conv0_up", "8x8/Conv1"):
        found[f"synthesis/{layer}/weight"] = random(3, 3, WIDTH, WIDTH)
        found[f"synthesis/{layer}/bias"] = random(WIDTH)
    found |= {"synthesis/ToRGB_lod0/weight": random(1, 1, WIDTH, 3), "synthesis/ToRGB_lod0/bias": random(3)}
    return found | {f"synthesis/noise{i}": random(1, 1, side, side) for i, side in enumerate((4, 4, 8, 8))}


def tf_stylegan2() -> Arrays:
    found: Arrays = {}
    for index in range(2):
        found |= tf_dense(f"mapping/Dense{index}", LATENT, LATENT)
    found["synthesis/4x4/Const/const"] = random(1, WIDTH, 4, 4)
    for layer, side, num_out in (
        *(("4x4/Conv", 3, WIDTH), ("8x8/Conv0_up", 3, WIDTH), ("8x8/Conv1", 3, WIDTH)),
        *(("4x4/ToRGB", 1, 3), ("8x8/ToRGB", 1, 3)),
    ):
        name = f"synthesis/{layer}"
        found |= {f"{name}/weight": random(side, side, WIDTH, num_out), f"{name}/bias": random(num_out)}
        found |= {f"{name}/mod_weight": random(LATENT, WIDTH), f"{name}/mod_bias": random(WIDTH)}
        if side == 3:
            found[f"{name}/noise_strength"] = np.zeros((), np.float32)
    return found | {f"synthesis/noise{i}": random(1, 1, side, side) for i, side in enumerate((4, 8, 8))}
