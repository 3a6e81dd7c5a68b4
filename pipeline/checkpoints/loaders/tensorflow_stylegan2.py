"""StyleGAN2 as NVlabs/stylegan2 and stylegan2-ada (TensorFlow) pickle it.

Weights are stored unscaled; the equalised learning rate multiplies a convolution by ``1 / sqrt(fan_in)``
before it is demodulated. Styles' biases lack the 1 that is added to them, and kernels of upscaling
convolutions are turned by 180 degrees against those of a transposed convolution.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.checkpoints.loaders.network import FoundNetwork
from pipeline.checkpoints.loaders.records import text_of
from pipeline.checkpoints.loaders.stylegan2_variants import (
    MAX_TAPS,
    architecture_of,
    checked_clamp,
    upscaling_filter,
)
from pipeline.checkpoints.loaders.tensor_table import real_number
from pipeline.checkpoints.loaders.tensorflow import TFGenerator
from pipeline.models.stylegan2 import (
    ARCHITECTURES,
    MAX_MAPPING_LAYERS,
    StyleGAN2,
    default_filter,
    infer_plan,
)
from pipeline.models.tensors import MAX_BLOCKS, check_square_start, image_channels

FORMAT = "StyleGAN2 TensorFlow pickle"
MAPPING_LR_MULTIPLIER = 0.01
_MARK = "synthesis/4x4/Conv/mod_weight"
_FIXED: dict[str, tuple[Any, ...]] = {
    "nonlinearity": ("lrelu",),
    "mapping_nonlinearity": ("lrelu",),
    "normalize_latents": (True,),
    "use_wscale": (True,),
}
"""Arguments that change the computation, and the values that the network computes."""


def load(source: TFGenerator) -> FoundNetwork | None:
    """The network, or None where `source` is of another one. Raises ValueError where it is damaged,
    UnsupportedNetwork where it is of a kind that is not supported.
    """
    if _MARK not in source.table:
        return None
    source.require(_FIXED)
    state, sides = canonical_state(source)
    plan = replace(
        infer_plan(state),
        architecture=_architecture(source, sides),
        conv_clamp=checked_clamp(source.arguments.get("conv_clamp")),
        normalize_jointly="mapping/LabelConcat/weight" in source.table,
    )
    network = StyleGAN2.from_state(state, plan)
    source.check_fully_grown(network.resolution)
    if "synthesis/noise0" in source.table:
        network.stored_noise = tuple(
            source.take(f"synthesis/noise{index}", (1, 1, *shape))
            for index, shape in enumerate(network.noise_shapes)
        )
    average = source.average_latent(network.latent_size)
    source.check_all_taken()
    return FoundNetwork(network, f"{FORMAT} ({source.name})", average)


def canonical_state(source: TFGenerator) -> tuple[dict[str, Tensor], list[int]]:
    """Tensors under the names and in the scales of `StyleGAN2`, and the sides of the blocks."""
    target = "synthesis_network"
    state = _mapping(source)
    constant = source.take("synthesis/4x4/Const/const", (1, None, None, None))
    check_square_start(constant.shape)
    state[f"{target}.const"] = constant[0]
    state |= _convolution(source, "synthesis/4x4/Conv", f"{target}.blocks.0.conv1", up=False)
    sides = [4 * 2**index for index in range(MAX_BLOCKS)]
    sides = sides[: 1 + source.table.count(f"synthesis/{side}x{side}/Conv1/weight" for side in sides[1:])]
    for index, side in enumerate(sides):
        block, prefix = f"synthesis/{side}x{side}", f"{target}.blocks.{index}"
        if index > 0:
            state |= _convolution(source, f"{block}/Conv0_up", f"{prefix}.conv0", up=True)
            state |= _convolution(source, f"{block}/Conv1", f"{prefix}.conv1", up=False)
        if f"{block}/ToRGB/weight" in source.table:
            state |= _to_rgb(source, f"{block}/ToRGB", f"{prefix}.to_rgb")
        elif side == sides[-1]:  # the progressively grown predecessor (configurations B to D) names it so
            state |= _to_rgb(source, "synthesis/ToRGB_lod0", f"{prefix}.to_rgb")
        if f"{block}/Skip/weight" in source.table:
            weight = source.kernel(f"{block}/Skip/weight", 1)
            state[f"{prefix}.skip"] = _scaled(weight)
    return state | {f"{target}.resample_filter": _filter(source)}, sides


def _mapping(source: TFGenerator) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    rate = real_number(source.arguments.get("mapping_lrmul", MAPPING_LR_MULTIPLIER), "mapping_lrmul")
    for index in range(source.table.count(f"mapping/Dense{i}/weight" for i in range(MAX_MAPPING_LAYERS))):
        weight = source.transposed(f"mapping/Dense{index}/weight")
        state[f"mapping_network.layers.{index}.weight"] = _scaled(weight) * rate
        state[f"mapping_network.layers.{index}.bias"] = (
            source.take(f"mapping/Dense{index}/bias", (None,)) * rate
        )
    embedding = "mapping_network.embedding"
    if "mapping/LabelEmbed/weight" in source.table:  # of stylegan2-ada
        state[f"{embedding}.weight"] = _scaled(source.transposed("mapping/LabelEmbed/weight"))
        state[f"{embedding}.bias"] = source.take("mapping/LabelEmbed/bias", (None,))
    elif "mapping/LabelConcat/weight" in source.table:  # of stylegan2, unscaled and without bias
        state[f"{embedding}.weight"] = source.transposed("mapping/LabelConcat/weight")
        state[f"{embedding}.bias"] = torch.zeros(len(state[f"{embedding}.weight"]))
    return state


def _convolution(source: TFGenerator, name: str, target: str, *, up: bool) -> dict[str, Tensor]:
    weight = _scaled(source.kernel(f"{name}/weight", 3))
    state = {
        f"{target}.weight": weight.flip(2, 3) if up else weight,
        f"{target}.bias": source.take(f"{name}/bias", (None,)),
        **_style(source, name, target),
    }
    if f"{name}/noise_strength" in source.table:
        state[f"{target}.noise_strength"] = source.table.number(f"{name}/noise_strength")
    return state


def _to_rgb(source: TFGenerator, name: str, target: str) -> dict[str, Tensor]:
    weight = source.kernel(f"{name}/weight", 1)
    return {
        f"{target}.weight": _scaled(weight),
        f"{target}.bias": source.take(f"{name}/bias", (image_channels(len(weight)),)),
        **_style(source, name, target),
    }


def _style(source: TFGenerator, name: str, target: str) -> dict[str, Tensor]:
    return {
        f"{target}.style.weight": _scaled(source.transposed(f"{name}/mod_weight")),
        f"{target}.style.bias": source.take(f"{name}/mod_bias", (None,)) + 1.0,
    }


def _scaled(weight: Tensor) -> Tensor:
    """A weight [out, in, ...] times ``1 / sqrt(fan_in)``."""
    return weight / math.sqrt(max(math.prod(weight.shape[1:]), 1))


def _architecture(source: TFGenerator, sides: list[int]) -> str:
    """By the variables that only one of the three has, which the argument must not contradict."""
    if "synthesis/ToRGB_lod0/weight" in source.table:
        return "orig"
    found = architecture_of(
        has_skip=any(f"synthesis/{side}x{side}/Skip/weight" in source.table for side in sides),
        has_first_rgb="synthesis/4x4/ToRGB/weight" in source.table,
    )
    stated = source.arguments.get("architecture", found)
    if (not isinstance(stated, str) or stated != found) and len(sides) > 1:
        raise ValueError(
            f"it was built with architecture = {text_of(stated)}, but its variables are of {found!r}, "
            f"expected one of {', '.join(ARCHITECTURES)}"
        )
    return found


def _filter(source: TFGenerator) -> Tensor:
    """[k, k], summing to 4, of the taps [k] that the network was built with; a box of 2 where it has none."""
    if "resample_kernel" not in source.arguments:
        return default_filter()
    stated = source.arguments["resample_kernel"]
    stated = [1, 1] if stated is None else stated
    stated = stated.tolist() if isinstance(stated, np.ndarray) and stated.size <= MAX_TAPS else stated
    if not isinstance(stated, (list, tuple)) or not 1 <= len(stated) <= MAX_TAPS:
        raise ValueError(f"resample_kernel is {text_of(stated)}, expected a list of numbers")
    taps = torch.tensor([real_number(tap, "resample_kernel") for tap in stated])
    if float(taps.sum()) == 0:
        raise ValueError("resample_kernel sums to 0, expected taps with another sum")
    return upscaling_filter(taps / taps.sum())
