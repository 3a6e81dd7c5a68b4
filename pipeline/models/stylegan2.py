"""StyleGAN2 (Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN").

Its tensors have names of this project's own, and one network serves every file format: whatever differs
between them (scales of the equalised learning rate, orientation of kernels, biases stored less one) a loader
folds into the tensors. It knows no files, no truncation and no noise generation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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

ARCHITECTURES = ("skip", "resnet", "orig")
"""How blocks make the image (figure 7 of the paper): the sum over all of them, or the last one alone."""
EPSILON = 1e-8
"""Of demodulation and of the normalisation of Z."""
GAIN = math.sqrt(2.0)
"""What follows every leaky ReLU, to keep the variance."""
MAX_MAPPING_LAYERS = 64


@dataclass(frozen=True)
class StyleGAN2Plan:
    """What a StyleGAN2 is beside its weights. All but the last three follow from the tensors' shapes."""

    widths: tuple[int, ...]
    """Channels of the 4x4, 8x8, ... block; the last one's side is the image's."""
    const_width: int
    z_size: int
    latent_size: int
    mapping_widths: tuple[int, ...]
    """Outputs of every mapping layer; the last is `latent_size`."""
    class_labels: int = 0
    label_width: int = 0
    """Entries of a class's embedding, which is appended to Z."""
    filter_taps: int = 4
    noise: bool = True
    image_channels: int = 3
    normalize_jointly: bool = False
    """Z and embedding are normalised as one vector, not each for itself."""
    architecture: str = "skip"
    conv_clamp: float | None = None
    """Bound of every convolution's output, from trainings with float16 blocks; it acts in float32 too."""


class Dense(nn.Module):
    """A linear layer; weight [out, in] and bias [out] are used as they are."""

    def __init__(self, num_in: int, num_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(initial_weight(num_out, num_in, std=1 / math.sqrt(num_in)))
        self.bias = nn.Parameter(torch.zeros(num_out))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class MappingNetwork(nn.Module):
    """Z, normalised and with the class's embedding appended, through linear layers with leaky ReLU."""

    def __init__(self, plan: StyleGAN2Plan) -> None:
        super().__init__()
        self.embedding = Dense(plan.class_labels, plan.label_width) if plan.class_labels else None
        sizes = (plan.z_size + plan.label_width, *plan.mapping_widths)
        self.layers = nn.ModuleList(Dense(*pair) for pair in pairwise(sizes))
        self.normalize_jointly = plan.normalize_jointly

    def forward(self, z: Tensor, class_label: int | None) -> Tensor:
        x = z if self.normalize_jointly else normalize(z)
        if self.embedding is not None:
            label = self.embedding.weight[:, class_label] + self.embedding.bias  # [label_width]: of a one-hot
            label = label.expand(len(z), -1)  # [B, label_width]
            x = torch.cat([x, label if self.normalize_jointly else normalize(label)], dim=1)
        if self.normalize_jointly:
            x = normalize(x)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2) * GAIN
        return x


class ModulatedConv(nn.Module):
    """A 3x3 convolution whose input channels are scaled by a style, and whose outputs are brought back to
    unit variance (equations 1 and 3); with noise, bias and leaky ReLU.

    The style is applied to the input and the demodulation to the output, which is equal, so that a batch
    shares one weight. `weight` [out, in, 3, 3] correlates; where the layer doubles the side it is that of a
    transposed convolution of stride 2.
    """

    def __init__(self, num_in: int, channels: int, plan: StyleGAN2Plan, *, up: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(initial_weight(channels, num_in, 3, 3))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.style = Dense(plan.latent_size, num_in)
        self.style.bias = nn.Parameter(torch.ones(num_in))
        self.noise_strength = nn.Parameter(torch.zeros(())) if plan.noise else None
        self.up = up
        self.conv_clamp = plan.conv_clamp

    def forward(
        self, x: Tensor, w: Tensor, noise: Tensor | None, kernel: Tensor, gain: float = GAIN
    ) -> Tensor:
        """[B, in, r, r] to [B, out, r or 2r, ...]; `gain` follows the activation, and scales the clamp."""
        style = self.style(w)  # [B, in]
        squares = self.weight.square().sum((2, 3))  # [out, in]
        demodulation = torch.rsqrt(F.linear(style.square(), squares) + EPSILON)  # [B, out]
        x = x * style[:, :, None, None]
        if self.up:
            x = F.conv_transpose2d(x, self.weight.transpose(0, 1), stride=2)  # [B, out, 2r + 1, 2r + 1]
            x = filtered(x, kernel)  # [B, out, 2r, 2r]
        else:
            x = F.conv2d(x, self.weight, padding=1)
        # A leaky ReLU commutes with a positive factor: the gain costs no pass over the map of its own. All in
        # place, since fetching fresh memory takes longer than the arithmetic.
        x = x.mul_(gain * demodulation[:, :, None, None]).add_(gain * self.bias[:, None, None])
        if noise is not None and self.noise_strength is not None:
            x = x.add_(noise * (gain * self.noise_strength))
        x = F.leaky_relu_(x, 0.2)
        if self.conv_clamp is not None:
            bound = self.conv_clamp * gain / GAIN
            x = x.clamp_(-bound, bound)
        return x


class ToRGB(nn.Module):
    """A modulated 1x1 convolution to the image's c channels without demodulation; weight [c, in, 1, 1]."""

    def __init__(self, num_in: int, plan: StyleGAN2Plan) -> None:
        super().__init__()
        std = 1 / math.sqrt(num_in)
        self.weight = nn.Parameter(initial_weight(plan.image_channels, num_in, 1, 1, std=std))
        self.bias = nn.Parameter(torch.zeros(plan.image_channels))
        self.style = Dense(plan.latent_size, num_in)
        self.style.bias = nn.Parameter(torch.ones(num_in))
        self.conv_clamp = plan.conv_clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        weight = self.weight.flatten(1) * self.style(w)[:, None]  # [B, c, in]
        rgb = torch.baddbmm(self.bias[:, None], weight, x.flatten(2)).unflatten(2, x.shape[2:])
        return rgb if self.conv_clamp is None else rgb.clamp_(-self.conv_clamp, self.conv_clamp)


class Block(nn.Module):
    """The layers of one resolution: one convolution at 4x4, an upscaling and a plain one elsewhere."""

    def __init__(self, num_in: int, channels: int, plan: StyleGAN2Plan, *, first: bool, last: bool) -> None:
        super().__init__()
        self.conv0 = None if first else ModulatedConv(num_in, channels, plan, up=True)
        self.conv1 = ModulatedConv(num_in if first else channels, channels, plan, up=False)
        is_resnet = plan.architecture == "resnet" and not first
        std = 1 / math.sqrt(num_in)
        self.skip = nn.Parameter(initial_weight(channels, num_in, 1, 1, std=std)) if is_resnet else None
        self.to_rgb = ToRGB(channels, plan) if last or plan.architecture == "skip" else None

    def forward(
        self, x: Tensor, w: Tensor, noise: Sequence[Tensor | None], kernel: Tensor
    ) -> tuple[Tensor, list[Tensor], Tensor | None]:
        """The block's output, its convolutions' outputs as features, and what it adds to the image, if
        anything; `w` [B, rows, D] and `noise` begin at the block's own.
        """
        x, features = self.convolved(x, w, noise, kernel)
        row = len(features)  # the next block begins with the same one
        return x, features, None if self.to_rgb is None else self.to_rgb(x, w[:, row])

    def convolved(
        self, x: Tensor, w: Tensor, noise: Sequence[Tensor | None], kernel: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """The block's output, and its convolutions'."""
        if self.conv0 is None:
            x = self.conv1(x, w[:, 0], noise[0], kernel)
            return x, [x]
        first = self.conv0(x, w[:, 0], noise[0], kernel)
        if self.skip is None:
            second = self.conv1(first, w[:, 1], noise[1], kernel)
            return second, [first, second]
        shortcut = math.sqrt(0.5) * upscaled(F.conv2d(x, self.skip), kernel)
        second = self.conv1(first, w[:, 1], noise[1], kernel, gain=1.0)  # sqrt(2) sqrt(1/2)
        return shortcut + second, [first, second]


class SynthesisNetwork(nn.Module):
    """The learned constant [C, 4, 4] and the blocks; `resample_filter` [k, k] sums to 4."""

    resample_filter: Tensor

    def __init__(self, plan: StyleGAN2Plan) -> None:
        super().__init__()
        self.const = nn.Parameter(initial_weight(plan.const_width, 4, 4))
        last = len(plan.widths) - 1
        self.blocks = nn.ModuleList(
            Block(num_in, channels, plan, first=index == 0, last=index == last)
            for index, (num_in, channels) in enumerate(pairwise((plan.const_width, *plan.widths)))
        )
        self.register_buffer("resample_filter", default_filter())

    def forward(self, w_plus: Tensor, noise: Sequence[Tensor | None]) -> Rendered:
        x = self.const.expand(len(w_plus), -1, -1, -1).contiguous()  # [B, C, 4, 4]
        features = [x]
        image: Tensor | None = None
        row = 0
        for index, block in enumerate(self.blocks):
            x = laid_out(x, 4 * 2**index)
            x, found, rgb = block(x, w_plus[:, row:], noise[row:], self.resample_filter)
            features += found
            row += len(found)
            if image is not None:
                image = upscaled(image, self.resample_filter)
            if rgb is not None:
                image = rgb if image is None else image + rgb
        assert image is not None  # the last block has a to_rgb
        return Rendered(as_rgb(image), features)


class StyleGAN2(nn.Module):
    """The network behind the `Generator` protocol.

    Its feature layers are EditGAN's: the learned constant and every convolution's output. Where the
    architecture is resnet the second convolution's is taken before the shortcut is added.
    """

    architecture = "stylegan2"

    def __init__(self, plan: StyleGAN2Plan) -> None:
        super().__init__()
        self.mapping_network = MappingNetwork(plan)
        self.synthesis_network = SynthesisNetwork(plan)
        self.plan = plan
        self.z_size, self.latent_size = plan.z_size, plan.latent_size
        self.image_channels = plan.image_channels
        self.class_labels = plan.class_labels
        self.class_label: int | None = None
        """The class that `mapping` is conditioned on; to be chosen where `class_labels` is not 0."""
        self.resolution = 4 * 2 ** (len(plan.widths) - 1)
        self.num_w_layers = self.min_w_layers = self.default_truncation_layers = 2 * len(plan.widths)
        self.stored_noise: tuple[Tensor, ...] | None = None
        self.layers = feature_layers(plan)
        self.noise_shapes = tuple(layer.resolution for layer in self.layers[1:]) if plan.noise else ()

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], plan: StyleGAN2Plan | None = None) -> StyleGAN2:
        """The network whose canonical names and shapes `state` has, in float32.

        Sizes come from the shapes; the rest of `plan` says what shapes do not. Raises ValueError naming the
        first key that is missing, unknown or wrongly shaped; UnsupportedNetwork for images that are neither
        RGB nor grey, or not square.
        """
        plan = infer_plan(state, plan)
        with torch.device("meta"):
            network = cls(plan)
        expected = network.state_dict()
        tensors = {key: value.float() for key, value in state.items()}
        for key, value in expected.items():
            taps = (plan.filter_taps,) * 2
            check_tensor(tensors, key, taps if key.endswith("resample_filter") else tuple(value.shape))
        unknown = sorted(tensors.keys() - expected.keys())
        if unknown:
            raise ValueError(f"unknown key {unknown[0]!r} ({len(unknown)} unknown in all)")
        network.synthesis_network.resample_filter = tensors["synthesis_network.resample_filter"]
        network.load_state_dict(tensors, assign=True)
        return network

    def mapping(self, z: Tensor) -> Tensor:
        """Z [B, `z_size`] to W [B, D], of the class `class_label` where the network is conditional."""
        check_latents("z", z, (self.z_size,))
        if self.class_labels and self.class_label is None:
            raise ValueError(f"a class label is needed, 0 to {self.class_labels - 1}; none was chosen")
        return self.mapping_network(z, self.class_label)

    def synthesis(self, w_plus: Tensor, noise: Sequence[Tensor]) -> Rendered:
        """See `Generator.synthesis`."""
        check_synthesis_inputs(w_plus, noise, self.latent_size, self.min_w_layers, len(self.noise_shapes))
        return self.synthesis_network(w_plus, list(noise) or [None] * self.num_w_layers)


def feature_layers(plan: StyleGAN2Plan) -> tuple[FeatureLayer, ...]:
    """The constant and every convolution, in the order in which they are computed."""
    layers = [FeatureLayer("b4_const", (4, 4), plan.const_width)]
    for index, channels in enumerate(plan.widths):
        side = 4 * 2**index
        names = ("conv1",) if index == 0 else ("conv0", "conv1")
        layers += [FeatureLayer(f"b{side}_{name}", (side, side), channels) for name in names]
    return tuple(layers)


def normalize(x: Tensor) -> Tensor:
    """Rows [B, D] scaled to a mean square of 1."""
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + EPSILON)


def default_filter() -> Tensor:
    """[4, 4] float32: the outer product of [1, 3, 3, 1] with itself over 16, so that it sums to 4."""
    outer, inner = [0.0625, 0.1875, 0.1875, 0.0625], [0.1875, 0.5625, 0.5625, 0.1875]
    return torch.tensor([outer, inner, inner, outer])  # written out: see `initial_weight`


def filtered(x: Tensor, kernel: Tensor) -> Tensor:
    """[B, C, 2r + 1, 2r + 1], which a transposed convolution gave, to [B, C, 2r, 2r]: convolved, zero-padded,
    with a [k, k] kernel of even k.
    """
    channels, pad = x.shape[1], kernel.shape[0] // 2 - 1
    weight = kernel.flip(0, 1).expand(channels, 1, -1, -1)  # flipped: F.conv2d correlates
    return F.conv2d(x, weight, padding=pad, groups=channels)


def upscaled(x: Tensor, kernel: Tensor) -> Tensor:
    """[B, C, r, r] to [B, C, 2r, 2r]: zeros between the pixels, then a [k, k] kernel, k even."""
    channels, pad = x.shape[1], kernel.shape[0] // 2 - 1
    weight = kernel.expand(channels, 1, -1, -1)
    return F.conv_transpose2d(x, weight, stride=2, padding=pad, groups=channels)


def infer_plan(state: Mapping[str, Tensor], plan: StyleGAN2Plan | None = None) -> StyleGAN2Plan:
    """`plan` with the sizes that canonical tensors have.

    Raises ValueError for a key that should be there, UnsupportedNetwork as `StyleGAN2.from_state`.
    """
    check_tensor(state, "synthesis_network.const", (None, None, None))
    check_square_start(state["synthesis_network.const"].shape)
    check_tensor(state, "synthesis_network.resample_filter", (None, None))
    widths: list[int] = []
    while f"synthesis_network.blocks.{len(widths)}.conv1.weight" in state and len(widths) <= MAX_BLOCKS:
        key = f"synthesis_network.blocks.{len(widths)}.conv1.weight"
        check_tensor(state, key, (None, None, 3, 3))
        widths.append(state[key].shape[0])
    if not 1 <= len(widths) <= MAX_BLOCKS:
        raise ValueError(f"got {len(widths)} blocks or more, expected 1 to {MAX_BLOCKS}")
    check_tensor(state, "synthesis_network.blocks.0.conv1.style.weight", (None, None))
    to_rgb = f"synthesis_network.blocks.{len(widths) - 1}.to_rgb.weight"
    check_tensor(state, to_rgb, (None, None, 1, 1))
    mapping: list[Tensor] = []
    while f"mapping_network.layers.{len(mapping)}.weight" in state and len(mapping) <= MAX_MAPPING_LAYERS:
        key = f"mapping_network.layers.{len(mapping)}.weight"
        check_tensor(state, key, (None, None))
        mapping.append(state[key])
    if not mapping:
        raise ValueError("missing key 'mapping_network.layers.0.weight'")
    if len(mapping) > MAX_MAPPING_LAYERS:
        raise ValueError(f"got more than {MAX_MAPPING_LAYERS} mapping layers")
    label_width, classes = 0, 0
    if "mapping_network.embedding.weight" in state:
        check_tensor(state, "mapping_network.embedding.weight", (None, None))
        label_width, classes = state["mapping_network.embedding.weight"].shape
    taps = state["synthesis_network.resample_filter"].shape[0]
    if taps < 2 or taps % 2:
        raise ValueError(f"the resampling filter has {taps} taps, expected an even number")
    sizes = StyleGAN2Plan(
        widths=tuple(widths),
        const_width=state["synthesis_network.const"].shape[0],
        z_size=mapping[0].shape[1] - label_width,
        latent_size=state["synthesis_network.blocks.0.conv1.style.weight"].shape[1],
        mapping_widths=tuple(weight.shape[0] for weight in mapping),
        class_labels=classes,
        label_width=label_width,
        filter_taps=taps,
        noise="synthesis_network.blocks.0.conv1.noise_strength" in state,
        image_channels=image_channels(state[to_rgb].shape[0]),
    )
    _check_mapping(sizes)
    if plan is None:
        return sizes
    return replace(
        sizes,
        normalize_jointly=plan.normalize_jointly,
        architecture=plan.architecture,
        conv_clamp=plan.conv_clamp,
    )


def _check_mapping(plan: StyleGAN2Plan) -> None:
    if plan.z_size < 1:
        width = plan.z_size + plan.label_width
        raise ValueError(
            f"the first mapping layer has {width} inputs, of which the class's embedding takes "
            f"{plan.label_width}; expected at least one more, for Z"
        )
    if plan.mapping_widths[-1] != plan.latent_size:
        raise ValueError(
            f"the last mapping layer has {plan.mapping_widths[-1]} outputs, expected {plan.latent_size}, "
            "which the layers' styles take"
        )
