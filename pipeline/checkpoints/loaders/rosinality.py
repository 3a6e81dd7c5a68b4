"""StyleGAN2 as rosinality/stylegan2-pytorch names its tensors, and with it pSp, e4e, ReStyle and many others.

Weights are stored unscaled; the equalised learning rate multiplies a convolution by ``1 / sqrt(fan_in)``
before it is demodulated, and a mapping layer by 0.01 besides. The resampling filters contain the factor 4.
"""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor

from pipeline.checkpoints.loaders.network import FoundNetwork
from pipeline.checkpoints.loaders.search import Candidate, Layout
from pipeline.checkpoints.loaders.stylegan2_variants import MAX_TAPS
from pipeline.checkpoints.loaders.tensor_table import TensorTable
from pipeline.models.stylegan2 import MAX_MAPPING_LAYERS, StyleGAN2, default_filter
from pipeline.models.tensors import MAX_BLOCKS, UnsupportedNetwork, check_square_start, image_channels

FORMAT = "StyleGAN2 state dict (rosinality)"
MAPPING_LR_MULTIPLIER = 0.01
_FILTER = re.compile(r"(convs\.\d+\.conv\.blur|to_rgbs\.\d+\.upsample)\.kernel")


def build(found: Candidate) -> FoundNetwork:
    """The network. Raises ValueError where it is damaged, UnsupportedNetwork where it is of another kind."""
    table = found.table()
    network = StyleGAN2.from_state(canonical_state(table))
    network.stored_noise = stored_noise(table, len(network.noise_shapes))
    found.check_all_taken(table)
    return FoundNetwork(network, found.labelled(FORMAT))


LAYOUT = Layout(
    synthesis_mark="conv1.conv.modulation.weight",
    mapping_mark="style.1.weight",
    mapping_names="style.",
    build=build,
)


def canonical_state(table: TensorTable) -> dict[str, Tensor]:
    """Tensors under the names and in the scales of `StyleGAN2`."""
    synthesis = "synthesis_network"
    state = {f"{synthesis}.const": _constant(table)} | _mapping(table)
    state |= _convolution(table, "conv1", f"{synthesis}.blocks.0.conv1")
    state |= _to_rgb(table, "to_rgb1", f"{synthesis}.blocks.0.to_rgb")
    for block in range(1, 1 + table.count(f"to_rgbs.{i}.conv.weight" for i in range(MAX_BLOCKS - 1))):
        prefix = f"{synthesis}.blocks.{block}"
        state |= _convolution(table, f"convs.{2 * block - 2}", f"{prefix}.conv0")
        state |= _convolution(table, f"convs.{2 * block - 1}", f"{prefix}.conv1")
        state |= _to_rgb(table, f"to_rgbs.{block - 1}", f"{prefix}.to_rgb")
    return state | {f"{synthesis}.resample_filter": _filter(table)}


def _constant(table: TensorTable) -> Tensor:
    """The learned constant [C, 4, 4] that the image grows from."""
    if "input.input" not in table:
        raise UnsupportedNetwork(
            "it has StyleGAN2's layers but no learned constant ('input.input') that they begin with, as "
            "networks have that render a volume or encode an image first; it is not supported"
        )
    constant = table.take("input.input", (1, None, None, None))
    check_square_start(constant.shape)
    return constant[0]


def _mapping(table: TensorTable) -> dict[str, Tensor]:
    """``style.1``, ``style.2``, ...; ``style.0`` normalises Z and has no tensor."""
    found = [name for name in table if re.fullmatch(r"style\.\d{1,3}\.weight", name)]
    if len(found) > MAX_MAPPING_LAYERS:
        raise ValueError(f"got {len(found)} mapping layers, expected at most {MAX_MAPPING_LAYERS}")
    state: dict[str, Tensor] = {}
    for layer in range(len(found)):  # one that is missing between others is named by `take`
        target = f"mapping_network.layers.{layer}"
        state |= _dense(table, f"style.{layer + 1}", target, MAPPING_LR_MULTIPLIER)
    return state


def stored_noise(table: TensorTable, num: int) -> tuple[Tensor, ...] | None:
    """The constant noise [1, 1, h, w] of every convolution; None in files saved without."""
    if "noises.noise_0" not in table:
        return None
    sides = [4 * 2 ** ((index + 1) // 2) for index in range(num)]
    return tuple(table.take(f"noises.noise_{index}", (1, 1, side, side)) for index, side in enumerate(sides))


def _convolution(table: TensorTable, source: str, target: str) -> dict[str, Tensor]:
    weight = table.take(f"{source}.conv.weight", (1, None, None, 3, 3))[0]
    return {
        f"{target}.weight": weight / math.sqrt(weight[0].numel()),
        f"{target}.bias": table.take(f"{source}.activate.bias", (None,)),
        f"{target}.noise_strength": table.number(f"{source}.noise.weight"),
        **_dense(table, f"{source}.conv.modulation", f"{target}.style", 1.0),
    }


def _to_rgb(table: TensorTable, source: str, target: str) -> dict[str, Tensor]:
    weight = table.take(f"{source}.conv.weight", (1, None, None, 1, 1))[0]  # [3 or 1, in, 1, 1]
    channels = image_channels(len(weight))
    return {
        f"{target}.weight": weight / math.sqrt(weight[0].numel()),
        f"{target}.bias": table.take(f"{source}.bias", (1, channels, 1, 1)).reshape(channels),
        **_dense(table, f"{source}.conv.modulation", f"{target}.style", 1.0),
    }


def _dense(table: TensorTable, source: str, target: str, lr_multiplier: float) -> dict[str, Tensor]:
    weight = table.take(f"{source}.weight", (None, None))
    return {
        f"{target}.weight": weight * (lr_multiplier / math.sqrt(weight.shape[1])),
        f"{target}.bias": table.take(f"{source}.bias", (None,)) * lr_multiplier,
    }


def _filter(table: TensorTable) -> Tensor:
    """The one filter of every blur and upsampling; the usual one where the file has none."""
    found = [table.take(name, (None, None)) for name in table if _FILTER.fullmatch(name)]
    if any(not torch.equal(kernel, found[0]) for kernel in found):
        raise ValueError("the resampling filters of the layers differ, expected one filter throughout")
    if found and max(found[0].shape) > MAX_TAPS:
        raise ValueError(f"the resampling filter has {max(found[0].shape)} taps, expected at most {MAX_TAPS}")
    return found[0] if found else default_filter()
