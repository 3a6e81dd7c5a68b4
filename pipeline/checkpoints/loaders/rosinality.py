"""StyleGAN2 as rosinality/stylegan2-pytorch saves it: ``{"g_ema": state dict, "latent_avg": (D,)}``.

Weights are stored unscaled; the equalised learning rate multiplies a convolution by ``1 / sqrt(fan_in)``
before it is demodulated, and a mapping layer by 0.01 besides. The resampling filters contain the factor 4.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.checkpoints.loaders.stylegan2_variants import MAX_TAPS
from pipeline.checkpoints.loaders.untrusted import (
    Budget,
    FoundNetwork,
    TensorTable,
    candidates,
    fields,
    shown_key,
    state_dict,
)
from pipeline.models.stylegan2 import MAX_MAPPING_LAYERS, StyleGAN2, default_filter
from pipeline.models.tensors import MAX_BLOCKS

FORMAT = "StyleGAN2 state dict (rosinality)"
MAPPING_LR_MULTIPLIER = 0.01
_NETWORKS = ("g_ema", "params_ema", "g", "params", "state_dict")
_MARK = "conv1.conv.modulation.weight"
_FILTER = re.compile(r"(convs\.\d+\.conv\.blur|to_rgbs\.\d+\.upsample)\.kernel")


def load(content: Any) -> FoundNetwork | None:
    """The network, or None where `content` is of another format. ValueError where it is damaged.

    The averaged network ``g_ema`` is taken before any other; a bare state dict is one too.
    """
    budget = Budget()
    for key, value in candidates(content, _NETWORKS):
        state = state_dict(value, budget)
        if _MARK in state and "input.input" in state:
            table = TensorTable(state)
            network = StyleGAN2.from_state(canonical_state(table))
            network.stored_noise = stored_noise(table, len(network.noise_shapes))
            table.check_all_taken(lambda name: False)
            average = _average_latent(content, network.latent_size) if key else None
            shown = f"{FORMAT}, {shown_key(key, _NETWORKS)}" if key else FORMAT
            return FoundNetwork(network, shown, average)
    return None


def _average_latent(content: Any, latent_size: int) -> np.ndarray | None:
    """(D,) float32 from ``latent_avg``, which is (D,) or (1, D); None in files saved without."""
    value = fields(content).get("latent_avg")
    if value is None:
        return None
    average = TensorTable({"latent_avg": value}).take("latent_avg").reshape(-1)
    if len(average) != latent_size:
        raise ValueError(f"key 'latent_avg' has {len(average)} entries, expected {latent_size}")
    return np.asarray(average.numpy())


def canonical_state(table: TensorTable) -> dict[str, Tensor]:
    """Tensors under the names and in the scales of `StyleGAN2`."""
    synthesis = "synthesis_network"
    state = {f"{synthesis}.const": table.take("input.input", (1, None, 4, 4))[0]}
    indices = [int(match[1]) for name in table if (match := re.fullmatch(r"style\.(\d{1,3})\.weight", name))]
    if len(indices) > MAX_MAPPING_LAYERS:
        raise ValueError(f"got {len(indices)} mapping layers, expected at most {MAX_MAPPING_LAYERS}")
    for layer, index in enumerate(sorted(indices)):  # style.0 normalises and has no tensor
        state |= _dense(table, f"style.{index}", f"mapping_network.layers.{layer}", MAPPING_LR_MULTIPLIER)
    state |= _convolution(table, "conv1", f"{synthesis}.blocks.0.conv1")
    state |= _to_rgb(table, "to_rgb1", f"{synthesis}.blocks.0.to_rgb")
    for block in range(1, 1 + table.count(f"to_rgbs.{i}.conv.weight" for i in range(MAX_BLOCKS - 1))):
        prefix = f"{synthesis}.blocks.{block}"
        state |= _convolution(table, f"convs.{2 * block - 2}", f"{prefix}.conv0")
        state |= _convolution(table, f"convs.{2 * block - 1}", f"{prefix}.conv1")
        state |= _to_rgb(table, f"to_rgbs.{block - 1}", f"{prefix}.to_rgb")
    return state | {f"{synthesis}.resample_filter": _filter(table)}


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
    weight = table.take(f"{source}.conv.weight", (1, 3, None, 1, 1))[0]
    return {
        f"{target}.weight": weight / math.sqrt(weight[0].numel()),
        f"{target}.bias": table.take(f"{source}.bias", (1, 3, 1, 1)).reshape(3),
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
