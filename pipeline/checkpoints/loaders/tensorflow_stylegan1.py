"""StyleGAN1 as NVlabs/stylegan pickles it (``karras2019stylegan-*.pkl``), put under the names of DatasetGAN's
port. Both store weights unscaled, so only names and axes differ.

The instance normalisation adds 1e-5 to the variance, as DatasetGAN's port does, whose outputs are to be
reproduced; NVIDIA's program adds 1e-8. Images of the two differ where a feature map hardly varies.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pipeline.checkpoints.loaders.network import FoundNetwork
from pipeline.checkpoints.loaders.tensorflow import TFGenerator
from pipeline.models.stylegan1 import NUM_MAPPING_LAYERS, StyleGAN1
from pipeline.models.tensors import MAX_BLOCKS

FORMAT = "StyleGAN1 TensorFlow pickle"
_MARK = "synthesis/4x4/Const/StyleMod/weight"
_FIXED: dict[str, tuple[Any, ...]] = {
    "mapping_layers": (NUM_MAPPING_LAYERS,),
    "mapping_lrmul": (0.01,),
    "mapping_nonlinearity": ("lrelu",),
    "nonlinearity": ("lrelu",),
    "label_size": (0,),
    "normalize_latents": (True,),
    "use_wscale": (True,),
    "use_styles": (True,),
    "const_input_layer": (True,),
    "use_noise": (True,),
    "use_pixel_norm": (False,),
    "use_instance_norm": (True,),
    "fused_scale": ("auto",),
    "blur_filter": ((1, 2, 1),),
}
"""Arguments that change the computation, and the values that the network computes."""


def load(source: TFGenerator) -> FoundNetwork | None:
    """The network, or None where `source` is of another one. Raises ValueError where it is damaged,
    UnsupportedNetwork where it is of a kind that is not supported.
    """
    if _MARK not in source.table:
        return None
    source.require(_FIXED)
    network = StyleGAN1.from_state_dict(port_state(source))
    source.check_fully_grown(network.resolution)
    network.stored_noise = _stored_noise(source, network.noise_shapes)
    average = source.average_latent(network.latent_size)
    source.check_all_taken()
    return FoundNetwork(network, f"{FORMAT} ({source.name})", average)


def port_state(source: TFGenerator) -> dict[str, Tensor]:
    """Tensors under the port's names, shapes and axes."""
    state: dict[str, Tensor] = {}
    for index in range(NUM_MAPPING_LAYERS):
        state |= _dense(source, f"mapping/Dense{index}", f"g_mapping.dense{index}")
    target = "g_synthesis.blocks.4x4"
    state[f"{target}.const"] = source.take("synthesis/4x4/Const/const", (1, None, None, None))
    state[f"{target}.bias"] = source.take("synthesis/4x4/Const/bias", (None,))
    state |= _epilogue(source, "synthesis/4x4/Const", f"{target}.epi1")
    state |= _convolution(source, "synthesis/4x4/Conv", f"{target}.conv", 3)
    state |= _epilogue(source, "synthesis/4x4/Conv", f"{target}.epi2")
    sides = [4 * 2**index for index in range(1, MAX_BLOCKS)]
    for side in sides[: source.table.count(f"synthesis/{side}x{side}/Conv1/weight" for side in sides)]:
        block, target = f"synthesis/{side}x{side}", f"g_synthesis.blocks.{side}x{side}"
        state |= _convolution(source, f"{block}/Conv0_up", f"{target}.conv0_up", 3)
        state |= _epilogue(source, f"{block}/Conv0_up", f"{target}.epi1")
        state |= _convolution(source, f"{block}/Conv1", f"{target}.conv1", 3)
        state |= _epilogue(source, f"{block}/Conv1", f"{target}.epi2")
    return state | _convolution(source, "synthesis/ToRGB_lod0", "g_synthesis.torgb", 1)


def _stored_noise(source: TFGenerator, shapes: tuple[tuple[int, int], ...]) -> tuple[Tensor, ...] | None:
    if "synthesis/noise0" not in source.table:
        return None
    return tuple(source.take(f"synthesis/noise{index}", (1, 1, *shape)) for index, shape in enumerate(shapes))


def _convolution(source: TFGenerator, name: str, target: str, side: int) -> dict[str, Tensor]:
    return {
        f"{target}.weight": source.kernel(f"{name}/weight", side),
        f"{target}.bias": source.take(f"{name}/bias", (None,)),
    }


def _epilogue(source: TFGenerator, name: str, target: str) -> dict[str, Tensor]:
    return {
        f"{target}.top_epi.noise.weight": source.take(f"{name}/Noise/weight", (None,)),
        **_dense(source, f"{name}/StyleMod", f"{target}.style_mod.lin"),
    }


def _dense(source: TFGenerator, name: str, target: str) -> dict[str, Tensor]:
    return {
        f"{target}.weight": source.transposed(f"{name}/weight"),
        f"{target}.bias": source.take(f"{name}/bias", (None,)),
    }
