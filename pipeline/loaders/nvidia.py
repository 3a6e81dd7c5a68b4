"""StyleGAN2 as stylegan2-ada-pytorch and stylegan3 pickle it: a dict ``G``, ``D``, ``G_ema`` of "persistent"
modules, which carry their own source code. That is never looked at: the network follows from the names of its
tensors and from the numbers beside them.

Dense layers state their run-time gains. Modulated convolutions have none: they are demodulated as stored.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.loaders.foreign import (
    FoundNetwork,
    Module,
    TensorTable,
    as_module,
    fields,
    real_number,
    text_of,
    walk,
)
from pipeline.models.stylegan2 import ARCHITECTURES, StyleGAN2, StyleGAN2Plan, infer_plan

FORMAT = "StyleGAN2-ADA pickle"
MAPPING_LR_MULTIPLIER = 0.01
_NETWORKS = ("G_ema", "G")
_STYLEGAN3_LAYER = re.compile(r"synthesis\.L\d+_")


def load(content: Any) -> FoundNetwork | None:
    """The network, or None where `content` is of another format. ValueError where it is damaged, or of a
    network that is not supported. ``G_ema`` is taken before ``G``.
    """
    entries = fields(content)
    candidates = [(key, as_module(entries.get(key))) for key in _NETWORKS] + [("", as_module(content))]
    for key, module in candidates:
        if module is not None and {"mapping", "synthesis"} <= module.children().keys():
            network, average = build(module)
            return FoundNetwork(network, f"{FORMAT} ({key})" if key else FORMAT, average)
    return None


@dataclass(frozen=True)
class Source:
    """The pickled generator: its modules by path, and all their tensors."""

    modules: Mapping[str, Module]
    table: TensorTable

    def attribute(self, path: str, name: str, default: Any) -> Any:
        """An attribute of the module at `path`."""
        module = self.modules.get(path)
        return default if module is None else module.attributes.get(name, default)


def build(module: Module) -> tuple[StyleGAN2, Any]:
    """The network and its average latent (D,) or None."""
    modules = walk(module)
    if any(_STYLEGAN3_LAYER.match(path) for path in modules):
        raise ValueError("this is a StyleGAN3 network, which is not supported")
    tensors = {
        f"{path}.{name}".lstrip("."): tensor
        for path, part in modules.items()
        for name, tensor in part.tensors().items()
    }
    source = Source(modules, TensorTable(tensors))
    state, sides = canonical_state(source)
    plan = infer_plan(state)
    plan = StyleGAN2Plan(
        **{**plan.__dict__, "architecture": _architecture(source, sides), "conv_clamp": _conv_clamp(source)}
    )
    network = StyleGAN2.from_state(state, plan)
    if plan.noise:
        network.stored_noise = tuple(
            source.table.take(f"{path}.noise_const", shape)[None, None]
            for path, shape in zip(_convolutions(sides), network.noise_shapes, strict=True)
        )
    average = None
    if "mapping.w_avg" in source.table:
        average = source.table.take("mapping.w_avg", (network.latent_size,)).numpy()
    source.table.check_all_taken(lambda name: False)
    return network, average


def canonical_state(source: Source) -> tuple[dict[str, Tensor], list[int]]:
    """Tensors under the names and in the scales of `StyleGAN2`, and the sides of the blocks."""
    table, synthesis = source.table, "synthesis_network"
    state = _mapping(source)
    state[f"{synthesis}.const"] = table.take("synthesis.b4.const", (None, 4, 4))
    sides = [4]
    while f"synthesis.b{2 * sides[-1]}.conv1.weight" in table and len(sides) < 12:
        sides.append(2 * sides[-1])
    for index, side in enumerate(sides):
        block, target = f"synthesis.b{side}", f"{synthesis}.blocks.{index}"
        for name in ("conv1",) if index == 0 else ("conv0", "conv1"):
            state |= _convolution(source, f"{block}.{name}", f"{target}.{name}")
        if f"{block}.torgb.weight" in table:
            state |= _to_rgb(source, f"{block}.torgb", f"{target}.to_rgb")
        if f"{block}.skip.weight" in table:
            weight = table.take(f"{block}.skip.weight", (None, None, 1, 1))
            state[f"{target}.skip"] = weight * _gain(source, f"{block}.skip", weight)
    return state | {f"{synthesis}.resample_filter": _filter(table)}, sides


def _mapping(source: Source) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    index = 0
    while f"mapping.fc{index}.weight" in source.table:
        path, target = f"mapping.fc{index}", f"mapping_network.layers.{index}"
        state |= _dense(source, path, target, "lrelu", MAPPING_LR_MULTIPLIER)
        index += 1
    if "mapping.embed.weight" in source.table:
        state |= _dense(source, "mapping.embed", "mapping_network.embedding", "linear")
    return state


def _convolution(source: Source, path: str, target: str) -> dict[str, Tensor]:
    _check_activation(source, path, "lrelu")
    state = {
        f"{target}.weight": source.table.take(f"{path}.weight", (None, None, 3, 3)),
        f"{target}.bias": source.table.take(f"{path}.bias", (None,)),
        **_dense(source, f"{path}.affine", f"{target}.style", "linear"),
    }
    if f"{path}.noise_strength" in source.table:
        state[f"{target}.noise_strength"] = source.table.number(f"{path}.noise_strength")
    return state


def _to_rgb(source: Source, path: str, target: str) -> dict[str, Tensor]:
    weight = source.table.take(f"{path}.weight", (3, None, 1, 1))
    return {
        f"{target}.weight": weight * _gain(source, path, weight),
        f"{target}.bias": source.table.take(f"{path}.bias", (3,)),
        **_dense(source, f"{path}.affine", f"{target}.style", "linear"),
    }


def _dense(
    source: Source, path: str, target: str, activation: str, lr_multiplier: float = 1.0
) -> dict[str, Tensor]:
    _check_activation(source, path, activation)
    weight = source.table.take(f"{path}.weight", (None, None))
    gain = real_number(source.attribute(path, "bias_gain", lr_multiplier), f"{path}.bias_gain")
    return {
        f"{target}.weight": weight * _gain(source, path, weight, lr_multiplier),
        f"{target}.bias": source.table.take(f"{path}.bias", (None,)) * gain,
    }


def _gain(source: Source, path: str, weight: Tensor, lr_multiplier: float = 1.0) -> float:
    """The run-time factor of a weight: as the layer states it, else by the equalised learning rate."""
    default = lr_multiplier / math.sqrt(max(weight[0].numel(), 1)) if len(weight) else 1.0
    return real_number(source.attribute(path, "weight_gain", default), f"{path}.weight_gain")


def _check_activation(source: Source, path: str, expected: str) -> None:
    found = source.attribute(path, "activation", expected)
    if not isinstance(found, str) or found != expected:
        raise ValueError(f"layer {path!r} has activation {text_of(found)}, only {expected!r} is supported")


def _architecture(source: Source, sides: list[int]) -> str:
    """As the blocks state it, else by the tensors that only one of the three has."""
    tensors = source.table
    if any(f"synthesis.b{side}.skip.weight" in tensors for side in sides):
        default = "resnet"
    else:
        default = "skip" if "synthesis.b4.torgb.weight" in tensors else "orig"
    found = source.attribute(f"synthesis.b{sides[-1]}", "architecture", default)
    if not isinstance(found, str) or found not in ARCHITECTURES:
        raise ValueError(f"the architecture is {text_of(found)}, expected one of {', '.join(ARCHITECTURES)}")
    return found


def _conv_clamp(source: Source) -> float | None:
    """The one bound of all convolutions; None without."""
    found = {
        path: module.attributes.get("conv_clamp")
        for path, module in source.modules.items()
        if re.fullmatch(r"synthesis\.b\d+\.(conv0|conv1|torgb)", path)
    }
    bounds = {value if value is None else real_number(value, f"{p}.conv_clamp") for p, value in found.items()}
    if len(bounds) > 1:
        raise ValueError("the layers' conv_clamp differ, expected one bound throughout")
    bound = bounds.pop() if bounds else None
    if bound is not None and bound <= 0:
        raise ValueError(f"conv_clamp is {bound}, expected a number > 0")
    return bound


def _convolutions(sides: list[int]) -> list[str]:
    pairs = [(side, name) for side in sides for name in ("conv0", "conv1")]
    return [f"synthesis.b{side}.{name}" for side, name in pairs[1:]]  # no upscaling to 4x4


def _filter(table: TensorTable) -> Tensor:
    """The one filter [k, k] of every layer, stored with the sum 1 (and as [k] where it is long), times 4."""
    names = [name for name in table if name.endswith(".resample_filter")]
    found = [table.take(name) for name in names]
    if not found or any(not torch.equal(taps, found[0]) for taps in found):
        raise ValueError(
            "the layers have no resample_filter or different ones, expected one filter throughout"
        )
    taps = found[0]
    if taps.ndim == 1 and len(taps) <= 64:
        taps = taps[:, None] * taps  # [k, k]
    if taps.ndim != 2 or taps.shape[0] != taps.shape[1] or taps.shape[0] > 64:
        raise ValueError(f"the resample_filter has shape {tuple(taps.shape)}, expected (k, k) or (k,)")
    return 4 * taps
