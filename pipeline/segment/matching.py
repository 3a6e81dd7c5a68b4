"""Fits the tensors of a file to those of a network, by names and shapes, and says where they differ.

It knows a network by its tensors, its ``trunk`` and its ``head`` alone (`pipeline.segment.networks`), and no
files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pipeline.errors import short

AUXILIARY = "aux_classifier."
"""What torchvision trains beside the head, and no prediction uses."""
_CLASSIFIERS = ("fc.", "classifier.")
"""The last layers of torchvision's classification networks."""
_COUNTER = ".num_batches_tracked"  # old files have none, and it is of no use here
INNER = "network."
"""What a wrapper puts before the names of another library's network."""


class Mismatch(Exception):
    """The tensors are of another network; the text says which tensor differs: found and expected."""


class Fit(NamedTuple):
    """Tensors by the network's names and of its types; and the names of those of its own that stay as they
    are.
    """

    tensors: dict[str, Tensor]
    is_trunk_alone: bool
    new: tuple[str, ...]


def fit(network: nn.Module, found: Mapping[str, Tensor], *, whole: bool) -> Fit:
    """What the network takes of a file's tensors.

    With ``whole`` it takes all; else tensors of its trunk alone are enough, and a head of another number of
    outputs stays as it is. Raises Mismatch.
    """
    expected = network.state_dict()
    named = {name: tensor for name, tensor in found.items() if not name.startswith(AUXILIARY)}
    ways = [(named, False)] if whole else _ways(network, named)
    tensors, is_trunk_alone = max(ways, key=lambda way: len(way[0].keys() & expected.keys()))
    wanted = _wanted(network, expected, tensors, whole=whole, is_trunk_alone=is_trunk_alone)
    for name, tensor in wanted.items():
        if name in tensors or not name.endswith(_COUNTER):
            _check(name, tensors.get(name), tensor)
    strangers = [name for name in tensors if name not in expected]
    if strangers:
        shape = tuple(tensors[strangers[0]].shape)
        raise Mismatch(f"found {short(strangers[0])} {shape}, expected no such tensor")
    taken = {name: tensors[name].to(wanted[name].dtype) for name in wanted if name in tensors}
    new = tuple(name for name in expected if name not in wanted)
    return Fit(taken, is_trunk_alone, new)


def put(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give the network's tensors these values, on whatever device it is."""
    expected = network.state_dict()  # shares the network's memory
    with torch.no_grad():
        for name, tensor in tensors.items():
            expected[name].copy_(tensor)


def _ways(network: nn.Module, found: dict[str, Tensor]) -> list[tuple[dict[str, Tensor], bool]]:
    """The file's tensors under each way to name them, and whether they are of a trunk alone."""
    trunk, _ = prefixes(network)
    ways = [(found, False), ({INNER + name: tensor for name, tensor in found.items()}, False)]
    if trunk:
        bare = {
            trunk + name.removeprefix("features."): tensor
            for name, tensor in found.items()
            if not name.startswith(_CLASSIFIERS)
        }
        ways.append((bare, True))
    return ways


def prefixes(network: nn.Module) -> tuple[str, str]:
    """Of the names of the trunk's and of the head's tensors; empty where a network does not say."""
    return str(getattr(network, "trunk", "")), str(getattr(network, "head", ""))


def _wanted(
    network: nn.Module,
    expected: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    *,
    whole: bool,
    is_trunk_alone: bool,
) -> dict[str, Tensor]:
    """The network's tensors that the file must have."""
    trunk, head = prefixes(network)
    if whole:
        return dict(expected)
    if is_trunk_alone:
        return {name: tensor for name, tensor in expected.items() if name.startswith(trunk)}
    of_head = [name for name in expected if head and name.startswith(head)]
    # A head of another number of outputs differs in the first axis of its tensors, and in no other.
    is_head = all(name in tensors and tensors[name].shape[1:] == expected[name].shape[1:] for name in of_head)
    if is_head and any(tensors[name].shape != expected[name].shape for name in of_head):
        return {name: tensor for name, tensor in expected.items() if name not in of_head}
    return dict(expected)


def _check(name: str, found: Tensor | None, expected: Tensor) -> None:
    """Raise Mismatch where a tensor cannot take the place of the network's."""
    shape = tuple(expected.shape)
    if found is None:
        raise Mismatch(f"{name} is missing, expected {shape}")
    if found.shape != expected.shape:
        raise Mismatch(f"{name} is {tuple(found.shape)}, expected {shape}")
    if expected.is_floating_point() and not found.is_floating_point():
        raise Mismatch(f"{name} is {found.dtype}, expected floating-point numbers")
