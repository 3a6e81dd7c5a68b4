"""The style interpreter: an ensemble of small pixel classifiers, stacked so that one pass runs all members.

It maps feature vectors to class logits and knows nothing of images, stores, training loops or files.
The network is DatasetGAN's (Zhang et al., CVPR 2021, section 3.1 and the supplement): per member
``Linear, ReLU, BatchNorm, Linear, ReLU, BatchNorm, Linear``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

INIT_STD = 0.02
BATCH_NORM_EPS = 1e-5
BATCH_NORM_MOMENTUM = 0.1

# Name in an nn.Sequential of one member <-> name here. Layers 1 and 4 of the Sequential are the ReLUs.
_MEMBER_NAMES = {
    "layers.0.weight": "weight1",
    "layers.0.bias": "bias1",
    "layers.2.weight": "norm1_weight",
    "layers.2.bias": "norm1_bias",
    "layers.2.running_mean": "norm1_mean",
    "layers.2.running_var": "norm1_var",
    "layers.3.weight": "weight2",
    "layers.3.bias": "bias2",
    "layers.5.weight": "norm2_weight",
    "layers.5.bias": "norm2_bias",
    "layers.5.running_mean": "norm2_mean",
    "layers.5.running_var": "norm2_var",
    "layers.6.weight": "weight3",
    "layers.6.bias": "bias3",
}
_COUNTERS = ("layers.2.num_batches_tracked", "layers.5.num_batches_tracked")


def default_widths(num_classes: int) -> tuple[int, int]:
    """The published hidden widths: 128 and 32 under 32 classes, else 256 and 128."""
    return (128, 32) if num_classes < 32 else (256, 128)


def member_seeds(seed: int, num_members: int) -> tuple[int, ...]:
    """One seed a member, a function of (seed, member) alone: member i is the same in any ensemble."""
    sequences = [np.random.SeedSequence((seed, member)) for member in range(num_members)]
    return tuple(int(sequence.generate_state(1)[0]) for sequence in sequences)


class InterpreterEnsemble(nn.Module):
    """E classifiers of one architecture in stacked tensors: batched products replace a loop.

    Each member's outputs, gradients and running statistics depend on its own inputs and tensors only, so
    training the stack with an elementwise optimiser (Adam) on the sum of the members' losses is training
    the members separately.
    """

    weight1: nn.Parameter  # [E, h1, C]
    weight2: nn.Parameter  # [E, h2, h1]
    weight3: nn.Parameter  # [E, K, h2]
    bias1: nn.Parameter  # [E, h1], and so on
    bias2: nn.Parameter
    bias3: nn.Parameter
    norm1_weight: nn.Parameter
    norm1_bias: nn.Parameter
    norm2_weight: nn.Parameter
    norm2_bias: nn.Parameter
    norm1_mean: Tensor
    norm1_var: Tensor
    norm2_mean: Tensor
    norm2_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        num_classes: int,
        channels: int,
        *,
        seeds: Sequence[int],
        widths: tuple[int, int] | None = None,
    ) -> None:
        """A fresh ensemble with ``len(seeds)`` members, member i drawn from ``seeds[i]`` alone."""
        super().__init__()
        self.num_members = len(seeds)
        self.num_classes = num_classes
        self.channels = channels
        self.widths = widths or default_widths(num_classes)
        if min(self.num_members, num_classes, channels, *self.widths) < 1:
            raise ValueError(
                f"an ensemble of {self.num_members} members, {channels} channels, widths {self.widths} and "
                f"{num_classes} classes cannot be built: every one of these must be at least 1"
            )
        members = [_initial_member(num_classes, channels, self.widths, seed) for seed in seeds]
        for name in _MEMBER_NAMES.values():
            stacked = torch.stack([member[name] for member in members])
            if name.endswith(("mean", "var")):
                self.register_buffer(name, stacked)
            else:
                self.register_parameter(name, nn.Parameter(stacked))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.int64))

    def forward(self, features: Tensor) -> Tensor:
        """Logits [E, B, K] of each member's own batch: features [E, B, C], of the parameters' dtype."""
        expected = (self.num_members, self.channels)
        if features.ndim != 3 or (features.shape[0], features.shape[2]) != expected:
            raise ValueError(
                f"features of shape {tuple(features.shape)}, expected [{expected[0]}, batch, {expected[1]}]"
            )
        columns = features.transpose(1, 2)  # [E, C, B]
        return self.head(torch.baddbmm(self.bias1[:, :, None], self.weight1, columns))

    def forward_shared(self, features: Tensor) -> Tensor:
        """Logits [E, P, K] of all members for the same features [P, C], which are never copied E times."""
        if features.ndim != 2 or features.shape[1] != self.channels:
            raise ValueError(f"features of shape {tuple(features.shape)}, expected [pixels, {self.channels}]")
        stacked = self.weight1.flatten(0, 1)  # [E*h1, C]
        hidden = torch.addmm(self.bias1.flatten()[:, None], stacked, features.T)  # [E*h1, P]
        return self.head(hidden.unflatten(0, (self.num_members, self.widths[0])))  # [E, h1, P]

    def head(self, hidden: Tensor) -> Tensor:
        """Logits [E, P, K] from the first layer's outputs [E, h1, P], before their ReLU.

        Those are ``weight1 @ features + bias1``. That layer is linear, so it may be applied to native feature
        maps before they are resized; `head` is then what is left to compute.
        """
        hidden = self._normalise(hidden.relu(), "norm1")  # [E, h1, P]
        hidden = torch.baddbmm(self.bias2[:, :, None], self.weight2, hidden)  # [E, h2, P]
        hidden = self._normalise(hidden.relu(), "norm2")
        if self.training:
            self.num_batches_tracked += 1
        return torch.baddbmm(self.bias3[:, :, None], self.weight3, hidden).transpose(1, 2)  # [E, P, K]

    def _normalise(self, hidden: Tensor, norm: str) -> Tensor:
        """Batch normalisation of [E, h, P] over P: E*h channels of one sample of length P."""
        return F.batch_norm(
            hidden.flatten(0, 1)[None],  # [1, E*h, P]
            getattr(self, f"{norm}_mean").view(-1),  # a view, never a copy: these are updated in place
            getattr(self, f"{norm}_var").view(-1),
            getattr(self, f"{norm}_weight").flatten(),
            getattr(self, f"{norm}_bias").flatten(),
            training=self.training,
            momentum=BATCH_NORM_MOMENTUM,
            eps=BATCH_NORM_EPS,
        )[0].unflatten(0, hidden.shape[:2])  # [E, h, P]

    def export_members(self) -> dict[str, Tensor]:
        """Every member's tensors on the CPU as ``{i}.layers.{0,2,3,5,6}.*``, loadable by an nn.Sequential."""
        members: dict[str, Tensor] = {}
        for i in range(self.num_members):
            for theirs, ours in _MEMBER_NAMES.items():
                members[f"{i}.{theirs}"] = getattr(self, ours)[i].detach().cpu().clone()
            for counter in _COUNTERS:
                members[f"{i}.{counter}"] = self.num_batches_tracked.detach().cpu().clone()
        return members

    @classmethod
    def from_members(cls, members: Mapping[str, Tensor]) -> InterpreterEnsemble:
        """The ensemble of ``export_members``; sizes are read off the tensors.

        Raises ValueError naming the first tensor that is missing or whose shape or dtype does not fit.
        """
        num_members = len({name.partition(".")[0] for name in members})
        first, last = _tensor(members, "0.layers.0.weight"), _tensor(members, "0.layers.6.weight")
        if first.ndim != 2 or last.ndim != 2:
            raise ValueError("0.layers.0.weight and 0.layers.6.weight must be matrices")
        (h1, channels), (num_classes, h2) = first.shape, last.shape
        # All of them before any memory is taken: two thin matrices could ask for a square one of any size.
        _check_members(members, num_members, channels, (h1, h2), num_classes)
        ensemble = cls(num_classes, channels, seeds=[0] * num_members, widths=(h1, h2))
        with torch.no_grad():
            for i in range(num_members):
                for theirs, ours in _MEMBER_NAMES.items():
                    getattr(ensemble, ours)[i].copy_(members[f"{i}.{theirs}"])
            ensemble.num_batches_tracked.copy_(members[f"0.{_COUNTERS[0]}"])
        return ensemble


def _check_members(
    members: Mapping[str, Tensor], num_members: int, channels: int, widths: tuple[int, int], num_classes: int
) -> None:
    """Raise ValueError naming the first tensor that is missing, or whose shape or dtype does not fit."""
    h1, h2 = widths
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(_MEMBER_NAMES, (h1,))
    shapes |= {name: (h2,) for name in _MEMBER_NAMES if name.startswith(("layers.3.", "layers.5."))}
    shapes |= {"layers.0.weight": (h1, channels), "layers.3.weight": (h2, h1)}
    shapes |= {"layers.6.weight": (num_classes, h2), "layers.6.bias": (num_classes,)}
    for i in range(num_members):
        for name, shape in shapes.items():
            tensor = _tensor(members, f"{i}.{name}")
            if tensor.shape != shape or tensor.dtype != torch.float32:
                raise ValueError(
                    f"{i}.{name} is {tensor.dtype} {tuple(tensor.shape)}, expected {torch.float32} {shape}"
                )
    counter = _tensor(members, f"0.{_COUNTERS[0]}")
    if counter.shape != () or counter.dtype != torch.int64:
        raise ValueError(f"0.{_COUNTERS[0]} is {counter.dtype} {tuple(counter.shape)}, expected a count")


def _initial_member(num_classes: int, channels: int, widths: tuple[int, int], seed: int) -> dict[str, Tensor]:
    """The released initialisation: linear weights N(0, 0.02), biases 0, BatchNorm as torch makes it."""
    generator = torch.Generator().manual_seed(seed)
    sizes = (channels, *widths, num_classes)
    member: dict[str, Tensor] = {}
    for layer in (1, 2, 3):
        num_in, num_out = sizes[layer - 1], sizes[layer]
        member[f"weight{layer}"] = torch.randn(num_out, num_in, generator=generator) * INIT_STD
        member[f"bias{layer}"] = torch.zeros(num_out)
        if layer < 3:
            member[f"norm{layer}_weight"] = torch.ones(num_out)
            member[f"norm{layer}_bias"] = torch.zeros(num_out)
            member[f"norm{layer}_mean"] = torch.zeros(num_out)
            member[f"norm{layer}_var"] = torch.ones(num_out)
    return member


def _tensor(members: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in members:
        raise ValueError(f"the tensor {name} is missing")
    return members[name]
