"""StyleGAN2 under the names that stylegan2-ada-pytorch and stylegan3 give its tensors.

These stand in pickles of "persistent" modules, a dict ``G``, ``D``, ``G_ema``, and in plain state dicts.
Persistent modules carry their own source code. It is never looked at: the network follows from the names of
its tensors and from the numbers beside them.

Dense layers state their run-time gains. Modulated convolutions have none: they are demodulated as stored. A
state dict states nothing: gains are then those of the equalised learning rate, and outputs are not clamped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pipeline.checkpoints.loaders.network import FoundNetwork
from pipeline.checkpoints.loaders.records import Module, text_of
from pipeline.checkpoints.loaders.search import Candidate, Layout
from pipeline.checkpoints.loaders.stylegan2_variants import architecture_of, checked_clamp, upscaling_filter
from pipeline.checkpoints.loaders.tensor_table import TensorTable, real_number
from pipeline.errors import short
from pipeline.models.stylegan2 import ARCHITECTURES, MAX_MAPPING_LAYERS, StyleGAN2, default_filter, infer_plan
from pipeline.models.tensors import MAX_BLOCKS, UnsupportedNetwork, check_square_start, image_channels

FORMAT = "StyleGAN2-ADA pickle"
STATE_DICT_FORMAT = "StyleGAN2-ADA state dict, conv_clamp unknown (none is applied)"
MAPPING_LR_MULTIPLIER = 0.01
_STYLEGAN3_LAYER = re.compile(r"synthesis\.L\d+_")


def build(found: Candidate) -> FoundNetwork:
    """The network. Raises ValueError where it is damaged, UnsupportedNetwork where it is of another kind."""
    if any(_STYLEGAN3_LAYER.match(name) for name in (*found.values, *found.modules)):
        raise UnsupportedNetwork("it has the layers of StyleGAN3, which is not supported")
    source = Source(found.modules, found.table())
    network = _network(source)
    found.check_all_taken(source.table)
    return FoundNetwork(network, found.labelled(FORMAT if found.modules else STATE_DICT_FORMAT))


LAYOUT = Layout(
    synthesis_mark="b4.const",
    mapping_mark="fc0.weight",
    synthesis_prefix="synthesis.",
    mapping_prefix="mapping.",
    build=build,
)


@dataclass(frozen=True)
class Source:
    """The generator in a file: its modules by path (a state dict has none), and all their tensors."""

    modules: Mapping[str, Module]
    table: TensorTable

    def attribute(self, path: str, name: str, default: Any) -> Any:
        """An attribute of the module at `path`."""
        module = self.modules.get(path)
        return default if module is None else module.attributes.get(name, default)


def _network(source: Source) -> StyleGAN2:
    state, sides = canonical_state(source)
    architecture = _architecture(source, sides)
    plan = replace(infer_plan(state), architecture=architecture, conv_clamp=_conv_clamp(source))
    network = StyleGAN2.from_state(state, plan)
    names = [f"{path}.noise_const" for path in _convolutions(sides)]
    if plan.noise and any(name in source.table for name in names):
        network.stored_noise = tuple(
            source.table.take(name, shape)[None, None]
            for name, shape in zip(names, network.noise_shapes, strict=True)
        )
    return network


def canonical_state(source: Source) -> tuple[dict[str, Tensor], list[int]]:
    """Tensors under the names and in the scales of `StyleGAN2`, and the sides of the blocks."""
    table, synthesis = source.table, "synthesis_network"
    state = _mapping(source)
    state[f"{synthesis}.const"] = table.take("synthesis.b4.const", (None, None, None))
    check_square_start(state[f"{synthesis}.const"].shape)
    num = 1 + table.count(f"synthesis.b{4 * 2**i}.conv1.weight" for i in range(1, MAX_BLOCKS))
    sides = [4 * 2**index for index in range(num)]
    for index, side in enumerate(sides):
        block, target = f"synthesis.b{side}", f"{synthesis}.blocks.{index}"
        for name in ("conv1",) if index == 0 else ("conv0", "conv1"):
            state |= _convolution(source, f"{block}.{name}", f"{target}.{name}")
        if f"{block}.torgb.weight" in table or side == sides[-1]:  # the last one always has it
            state |= _to_rgb(source, f"{block}.torgb", f"{target}.to_rgb")
        if f"{block}.skip.weight" in table:
            weight = table.take(f"{block}.skip.weight", (None, None, 1, 1))
            state[f"{target}.skip"] = weight * _gain(source, f"{block}.skip", weight)
    return state | {f"{synthesis}.resample_filter": _filter(table)}, sides


def _mapping(source: Source) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for index in range(source.table.count(f"mapping.fc{i}.weight" for i in range(MAX_MAPPING_LAYERS))):
        path, target = f"mapping.fc{index}", f"mapping_network.layers.{index}"
        state |= _dense(source, path, target, "lrelu", MAPPING_LR_MULTIPLIER)
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
    weight = source.table.take(f"{path}.weight", (None, None, 1, 1))
    channels = image_channels(len(weight))
    return {
        f"{target}.weight": weight * _gain(source, path, weight),
        f"{target}.bias": source.table.take(f"{path}.bias", (channels,)),
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
        raise ValueError(
            f"layer {short(path)} has activation {text_of(found)}, only {expected!r} is supported"
        )


def _architecture(source: Source, sides: list[int]) -> str:
    """As the blocks state it, else by the tensors that only one of the three has."""
    default = architecture_of(
        has_skip=any(f"synthesis.b{side}.skip.weight" in source.table for side in sides),
        has_first_rgb="synthesis.b4.torgb.weight" in source.table,
    )
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
    bounds = {checked_clamp(value, f"{path}.conv_clamp") for path, value in found.items()}
    if len(bounds) > 1:
        raise ValueError("the layers' conv_clamp differ, expected one bound throughout")
    return bounds.pop() if bounds else None


def _convolutions(sides: list[int]) -> list[str]:
    pairs = [(side, name) for side in sides for name in ("conv0", "conv1")]
    return [f"synthesis.b{side}.{name}" for side, name in pairs[1:]]  # no upscaling to 4x4


def _filter(table: TensorTable) -> Tensor:
    """The one filter [k, k] of every layer, stored with the sum 1 (and as [k] where it is long), times 4.

    It is the usual one where the file has none, as in an average of the parameters without the buffers.
    """
    found = [table.take(name) for name in table if name.endswith(".resample_filter")]
    if any(not torch.equal(taps, found[0]) for taps in found):
        raise ValueError("the layers have different resample_filter, expected one filter throughout")
    return upscaling_filter(found[0]) if found else default_filter()
