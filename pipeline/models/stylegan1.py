"""StyleGAN (Karras et al. 2019) with the parameter names that DatasetGAN's checkpoints have.

Resolution, widths and latent size are read from the tensors' shapes. It knows no files, no truncation and no
noise generation. Weights are stored unscaled and multiplied at run time (equalised learning rate: Karras et
al. 2018, "Progressive Growing of GANs", section 4.1), which is why a scale stands in every forward pass.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models.generator import FeatureLayer, Rendered
from pipeline.models.tensors import (
    MAX_BLOCKS,
    as_rgb,
    check_latents,
    check_square_start,
    check_synthesis_inputs,
    check_tensor,
    image_channels,
    initial_weight,
    laid_out,
)

NUM_MAPPING_LAYERS = 8
MAPPING_LR_MULTIPLIER = 0.01
RELEASED_W_LAYERS = 18
"""The port broadcasts W to the 18 layers of a 1024 px network, whatever the resolution."""
EPSILON = 1e-5
"""Of instance normalisation."""
SQUARED_ROWS = 32
"""Rows of a map whose squares are in the cache while they are summed."""
FUSED_UPSCALE_FROM = 128
"""Output side in pixels from which upscaling and convolution are one transposed convolution."""
_BLOCK_KEY = re.compile(r"g_synthesis\.blocks\.(\d{1,4})x(\d{1,4})\.")


class ScaledLinear(nn.Module):
    """A linear layer, its stored weight multiplied by ``gain / sqrt(fan_in) * lr_multiplier`` at run time."""

    def __init__(self, num_in: int, num_out: int, *, gain: float, lr_multiplier: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(initial_weight(num_out, num_in, std=1 / lr_multiplier))
        self.bias = nn.Parameter(torch.zeros(num_out))
        self.weight_scale = gain / math.sqrt(num_in) * lr_multiplier
        self.bias_scale = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.weight_scale, self.bias * self.bias_scale)


class ScaledConv(nn.Module):
    """A convolution, stride 1, zero-padded to the input's size; weight scale ``gain / sqrt(fan_in)``."""

    def __init__(self, num_in: int, num_out: int, kernel: int, *, gain: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(initial_weight(num_out, num_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(num_out))
        self.weight_scale = gain / math.sqrt(num_in * kernel * kernel)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.weight_scale, self.bias, padding=self.weight.shape[-1] // 2)


class Blur(nn.Module):
    """Depthwise binomial low-pass filter, zero-padded; `kernel` is [1, 1, 3, 3]."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", binomial_kernel())

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """The filtered map, plus ``bias`` [C]."""
        channels = x.shape[1]
        return F.conv2d(x, self.kernel.expand(channels, -1, -1, -1), bias, padding=1, groups=channels)


class UpscaleConv(nn.Module):
    """Doubles the side: nearest upscale and 3x3 convolution (a transposed one at large sides), blur, bias."""

    def __init__(self, num_in: int, num_out: int, *, fused: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(initial_weight(num_out, num_in, 3, 3))
        self.bias = nn.Parameter(torch.zeros(num_out))
        self.weight_scale = math.sqrt(2.0) / math.sqrt(num_in * 9)
        self.fused = fused
        self.intermediate = Blur()

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * self.weight_scale
        if not self.fused:
            # Nearest upscale, then correlation with a 3x3 kernel, is the transposed convolution with the
            # flipped kernel in the fused form below: the same numbers to rounding, with 4/9 of the
            # multiplications.
            weight = weight.flip(2, 3)
        padded = F.pad(weight, (1, 1, 1, 1))  # [out, in, 5, 5]
        corners = (
            padded[:, :, 1:, 1:] + padded[:, :, :-1, 1:] + padded[:, :, 1:, :-1] + padded[:, :, :-1, :-1]
        )
        kernel = corners.transpose(0, 1)  # [in, out, 4, 4]
        x = F.conv_transpose2d(x, kernel, stride=2, padding=1)
        return self.intermediate(x, self.bias)


class Noise(nn.Module):
    """Adds a noise map [1 or B, 1, h, w] times one learned weight a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        return torch.addcmul(x, noise, self.weight[:, None, None])


class NoiseOnly(nn.Module):
    """Holds the noise weights under the name that checkpoints give them (``top_epi.noise.weight``)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.noise = Noise(channels)


class StyleMod(nn.Module):
    """Per-channel scale and shift as a linear map of W: the style of adaptive instance normalisation."""

    def __init__(self, channels: int, latent_size: int) -> None:
        super().__init__()
        self.lin = ScaledLinear(latent_size, 2 * channels, gain=1.0)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Adaptive instance normalisation of ``x`` [B, C, h, w], which is overwritten."""
        scale, shift = self.lin(w).view(w.shape[0], 2, -1, 1, 1).unbind(1)  # each [B, C, 1, 1]
        if x.is_contiguous():
            return torch.addcmul(shift, F.instance_norm(x, eps=EPSILON), scale + 1.0)
        # Channels last. There torch's instance normalisation takes a map apart and puts it together again,
        # and its batch normalisation sums a million values one after the other in float32.
        x.sub_(x.mean((2, 3), keepdim=True))
        squares = [rows.square().sum((2, 3), keepdim=True) for rows in x.split(SQUARED_ROWS, dim=2)]
        variance = torch.stack(squares).sum(0) / x[0, 0].numel()  # [B, C, 1, 1]
        return torch.addcmul(shift, x, (scale + 1.0) * torch.rsqrt(variance + EPSILON), out=x)


class Epilogue(nn.Module):
    """Noise, leaky ReLU, instance normalisation, style (Karras et al. 2019, equation 1)."""

    def __init__(self, channels: int, latent_size: int) -> None:
        super().__init__()
        self.top_epi = NoiseOnly(channels)
        self.style_mod = StyleMod(channels, latent_size)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        x = F.leaky_relu_(self.top_epi.noise(x, noise), 0.2)
        return self.style_mod(x, w)


class FirstBlock(nn.Module):
    """4x4: a learned constant in place of the upscaled input."""

    def __init__(self, channels: int, latent_size: int) -> None:
        super().__init__()
        self.const = nn.Parameter(torch.ones(1, channels, 4, 4))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.epi1 = Epilogue(channels, latent_size)
        self.conv = ScaledConv(channels, channels, 3, gain=math.sqrt(2.0))
        self.epi2 = Epilogue(channels, latent_size)

    def forward(self, x: Tensor | None, w: Tensor, noise: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Block output and second convolution's, each [B, C, 4, 4], from W+ rows [B, 2, D]; no `x`."""
        start = (self.const + self.bias[:, None, None]).expand(w.shape[0], -1, -1, -1)  # [B, C, 4, 4]
        second = self.conv(self.epi1(start, w[:, 0], noise[0]))
        return self.epi2(second, w[:, 1], noise[1]), second


class UpBlock(nn.Module):
    """Doubles the side, then one more convolution, each followed by its epilogue."""

    def __init__(self, num_in: int, channels: int, latent_size: int, *, resolution: int) -> None:
        super().__init__()
        self.conv0_up = UpscaleConv(num_in, channels, fused=resolution >= FUSED_UPSCALE_FROM)
        self.epi1 = Epilogue(channels, latent_size)
        self.conv1 = ScaledConv(channels, channels, 3, gain=math.sqrt(2.0))
        self.epi2 = Epilogue(channels, latent_size)

    def forward(self, x: Tensor | None, w: Tensor, noise: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Block output and second convolution's, each [B, C, r, r], from `x` and W+ rows [B, 2, D]."""
        second = self.conv1(self.epi1(self.conv0_up(x), w[:, 0], noise[0]))
        return self.epi2(second, w[:, 1], noise[1]), second


class Mapping8(nn.Module):
    """Pixel normalisation of z, then eight linear layers, each with leaky ReLU."""

    def __init__(self, latent_size: int) -> None:
        super().__init__()
        for index in range(NUM_MAPPING_LAYERS):
            layer = ScaledLinear(
                latent_size, latent_size, gain=math.sqrt(2.0), lr_multiplier=MAPPING_LR_MULTIPLIER
            )
            self.add_module(f"dense{index}", layer)

    def forward(self, z: Tensor) -> Tensor:
        x = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
        for layer in self.children():
            x = F.leaky_relu(layer(x), 0.2)
        return x


class Synthesis(nn.Module):
    """The blocks from 4x4 up and the 1x1 convolution to the image's channels."""

    def __init__(self, widths: Sequence[int], latent_size: int, image_channels: int) -> None:
        super().__init__()
        self.torgb = ScaledConv(widths[-1], image_channels, 1, gain=1.0)
        self.blocks = nn.ModuleDict({"4x4": FirstBlock(widths[0], latent_size)})
        for index, (num_in, channels) in enumerate(pairwise(widths)):
            side = 8 * 2**index
            self.blocks[f"{side}x{side}"] = UpBlock(num_in, channels, latent_size, resolution=side)


class StyleGAN1(nn.Module):
    """The network behind the `Generator` protocol; a module since its parameters bear the checkpoint's names.

    `widths`: channels of the 4x4, 8x8, ... block; the last one's side is the image's. `image_channels`: 3, or
    1 of a grey network.
    """

    architecture = "stylegan1"

    def __init__(self, widths: Sequence[int], latent_size: int, image_channels: int = 3) -> None:
        super().__init__()
        self.g_mapping = Mapping8(latent_size)
        self.g_synthesis = Synthesis(widths, latent_size, image_channels)
        self.image_channels = image_channels
        self.latent_size = latent_size
        self.z_size = latent_size
        self.class_labels = 0
        self.resolution = 4 * 2 ** (len(widths) - 1)
        self.min_w_layers = 2 * len(widths)
        self.num_w_layers = max(RELEASED_W_LAYERS, self.min_w_layers)
        # The released scripts truncate 7 layers of the 256 px checkpoints (cat) and 8 of the others.
        self.default_truncation_layers = 7 if self.resolution == 256 else 8
        sides = [4 * 2**index for index in range(len(widths))]
        self.noise_shapes = tuple((side, side) for side in sides for _ in range(2))
        self.stored_noise: tuple[Tensor, ...] | None = None
        self.layers = tuple(
            FeatureLayer(f"b{side}_{kind}", (side, side), channels)
            for side, channels in zip(sides, widths, strict=True)
            for kind in ("out", "conv")
        )

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> StyleGAN1:
        """The network whose names and shapes `state` has (``g_mapping.*``, ``g_synthesis.*``), in float32.

        ``intermediate.kernel`` entries (the blur) may be absent. Raises ValueError naming the first key that
        is missing, unknown or wrongly shaped, UnsupportedNetwork for images that are neither RGB nor grey, or
        not square.
        """
        widths, latent_size = infer_sizes(state)
        check_tensor(state, "g_synthesis.torgb.weight", (None, None, 1, 1))
        channels = image_channels(state["g_synthesis.torgb.weight"].shape[0])
        with torch.device("meta"):
            network = cls(widths, latent_size, channels)
        expected = network.state_dict()
        tensors = {key: value.float() for key, value in state.items()}
        for key, value in expected.items():
            if key.endswith("intermediate.kernel"):
                tensors.setdefault(key, binomial_kernel())
            check_tensor(tensors, key, tuple(value.shape))
        unknown = sorted(tensors.keys() - expected.keys())
        if unknown:
            raise ValueError(f"unknown key {unknown[0]!r} ({len(unknown)} unknown in all)")
        network.load_state_dict(tensors, assign=True)
        return network

    def mapping(self, z: Tensor) -> Tensor:
        """Z [B, D] to W [B, D]."""
        check_latents("z", z, (self.latent_size,))
        return self.g_mapping(z)

    def synthesis(self, w_plus: Tensor, noise: Sequence[Tensor]) -> Rendered:
        """See `Generator.synthesis`; DatasetGAN's feature order: block output, second convolution."""
        check_synthesis_inputs(w_plus, noise, self.latent_size, self.min_w_layers, len(self.noise_shapes))
        features: list[Tensor] = []
        x: Tensor | None = None
        for index, block in enumerate(self.g_synthesis.blocks.values()):
            rows = slice(2 * index, 2 * index + 2)
            x = x if x is None else laid_out(x, 4 * 2**index)
            x, second = block(x, w_plus[:, rows], noise[rows])
            features += [x, second]
        return Rendered(as_rgb(self.g_synthesis.torgb(x)), features)


def binomial_kernel() -> Tensor:
    """[1, 1, 3, 3] float32, the outer product of [1, 2, 1] with itself over 16."""
    return torch.tensor([[[[0.0625, 0.125, 0.0625], [0.125, 0.25, 0.125], [0.0625, 0.125, 0.0625]]]])


def infer_sizes(state: Mapping[str, Tensor]) -> tuple[list[int], int]:
    """Channels of every block, 4x4 first, and the latent size. ValueError for a key that should be there."""
    check_tensor(state, "g_mapping.dense0.weight", (None, None))
    check_tensor(state, "g_synthesis.blocks.4x4.const", (1, None, None, None))
    check_square_start(state["g_synthesis.blocks.4x4.const"].shape)
    sides = sorted(
        {int(match[1]) for key in state if (match := _BLOCK_KEY.match(key)) and match[1] == match[2]}
    )
    if len(sides) > MAX_BLOCKS:
        raise ValueError(f"got blocks of {len(sides)} sides, expected at most {MAX_BLOCKS}")
    wanted = [4 * 2**index for index in range(len(sides))]
    if sides != wanted:
        raise ValueError(f"got blocks of side {sides}, expected {wanted}")
    widths = [state["g_synthesis.blocks.4x4.const"].shape[1]]
    for side in sides[1:]:
        key = f"g_synthesis.blocks.{side}x{side}.conv1.weight"
        check_tensor(state, key, (None, None, 3, 3))
        widths.append(state[key].shape[0])
    return widths, state["g_mapping.dense0.weight"].shape[1]
