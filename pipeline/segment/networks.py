"""Makes a segmentation network from its description, and loads weights into it.

Every network maps images [N, 3, H, W], normalised, to outputs [N, K, H, W], for any H and W. It may say in
``trunk`` and ``head`` how the names of its tensors begin: of those that stand before the decoder, and of
those whose first axis is K. It knows which architecture means which module, and not how networks learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pipeline.errors import UsageError, short
from pipeline.models.deeplab import BACKBONES, DeepLabV3
from pipeline.models.tensors import are_finite
from pipeline.segment.folder import DEEPLAB, SEGMENTER, SegmenterFolder
from pipeline.segment.matching import Fit, Mismatch, fit, prefixes, put
from pipeline.segment.other_networks import PREFIX, build_other
from pipeline.segment.weights_file import read_weights


class NetworkKind(NamedTuple):
    """The arguments of `build_network`, in its order. An output stride of None is torchvision's."""

    architecture: str
    backbone: str
    output_stride: int | None
    num_outputs: int


def build_network(architecture: str, backbone: str, output_stride: int | None, num_outputs: int) -> nn.Module:
    """A network with random weights, of torch's global generator: [N, 3, H, W] to [N, num_outputs, H, W].

    Raises UsageError, one line, for names that are unknown, an output stride that the backbone does not
    have, or an extra that is not installed.
    """
    if architecture.startswith(PREFIX):
        if output_stride is not None:
            raise UsageError(
                f"--output-stride is of {DEEPLAB}; leave it out with --architecture {PREFIX}NAME"
            )
        return build_other(architecture.removeprefix(PREFIX), backbone, num_outputs)
    if architecture != DEEPLAB:
        raise UsageError(f"--architecture is {short(architecture)}; expected {DEEPLAB}, or {PREFIX}NAME")
    if backbone not in BACKBONES:
        raise UsageError(f"--backbone is {short(backbone)}; expected {', '.join(BACKBONES)}")
    strides = BACKBONES[backbone].strides
    if output_stride is not None and output_stride not in strides:
        expected = ", ".join(map(str, strides))
        raise UsageError(f"--output-stride is {output_stride}; {backbone} has {expected}")
    return DeepLabV3(backbone, num_outputs, output_stride)


def load_pretrained(network: nn.Module, path: Path) -> tuple[str, ...]:
    """Load what fits of a file's weights. Returns notes for the user, such as that the head is new.

    A file of a whole network fits, torchvision's or of a segmenter, whose head is left out if it has another
    number of outputs; or one of a classification network of torchvision, for the backbone alone. The network
    is changed only when all of it is known to fit.

    Raises UsageError, one line, for a file that is none of weights, or whose weights are of another network.
    """
    tensors = read_weights(path)
    try:
        found = fit(network, tensors, whole=False)
    except Mismatch as error:
        name = _backbone_of(tensors)
        way_out = "pass weights of the same network" if name is None else f"it fits --backbone {name}"
        raise UsageError(f"{path}: holds weights of another network ({error}); {way_out}") from error
    _put(path, network, found)
    if found.is_trunk_alone:
        return (f"{path}: has the backbone's weights; all behind it begins at random",)
    if found.new:
        _, head = prefixes(network)
        outputs = [len(table[f"{head}weight"]) for table in (network.state_dict(), tensors)]
        return (f"{path}: has {outputs[1]} outputs, not {outputs[0]}; the last layer begins at random",)
    return ()


def load_epoch(folder: SegmenterFolder, epoch: int, network: nn.Module) -> None:
    """Load the weights of an epoch. Raises UsageError where the file is damaged or of another network,
    RunError where another segmenter lies there now.
    """
    path = folder.epochs[epoch]
    tensors = read_weights(path)
    SEGMENTER.check_unchanged(folder.path, folder.info)
    try:
        found = fit(network, tensors, whole=True)
    except Mismatch as error:
        raise UsageError(
            f"{path}: holds weights of another network ({error}); restore the file, or train anew"
        ) from error
    _put(path, network, found)


def recognised(folder: SegmenterFolder) -> NetworkKind:
    """Which network's weights a folder of the released code holds, which says nothing of it: those of the
    last epoch tell. Raises UsageError, one line, where no network here has such tensors.
    """
    path = folder.epochs[max(folder.epochs)]
    tensors = read_weights(path)
    backbone, last = _backbone_of(tensors), tensors.get(f"{DeepLabV3.head}weight")
    if backbone is None or last is None or last.ndim != 4:
        name, tensor = next(iter(tensors.items()))
        raise UsageError(
            f"{path}: found tensors such as {short(name)} {tuple(tensor.shape)}, expected those of DeepLabV3 "
            f"on {', '.join(BACKBONES)}; of another network its segmenter.json must be beside it"
        )
    return NetworkKind(DEEPLAB, backbone, None, len(last))


def _put(path: Path, network: nn.Module, found: Fit) -> None:
    """Give the network what was found. Raises UsageError for values that no trained network has."""
    for name, tensor in found.tensors.items():
        if not are_finite(tensor):
            raise UsageError(f"{path}: {name} has NaN or infinite values; expected a training that converged")
        if name.endswith("running_var") and bool((tensor < 0).any()):
            raise UsageError(f"{path}: {name} has negative values, expected variances; copy the file again")
    put(network, found.tensors)


def _backbone_of(tensors: Mapping[str, Tensor]) -> str | None:
    """The backbone whose tensors these hold, as a part of DeepLabV3 or of a classification network."""
    shapes = {
        name.removeprefix(DeepLabV3.trunk).removeprefix("features."): tensor.shape
        for name, tensor in tensors.items()
    }
    fitting = [name for name in BACKBONES if _trunk_shapes(name).items() <= shapes.items()]
    return max(fitting, key=lambda name: len(_trunk_shapes(name)), default=None)  # one may hold another's


@cache
def _trunk_shapes(backbone: str) -> dict[str, torch.Size]:
    """Of its parameters, which files of any age have. Takes no memory."""
    with torch.device("meta"):
        trunk = BACKBONES[backbone].build(BACKBONES[backbone].usual_stride)
    return {name: parameter.shape for name, parameter in trunk.named_parameters()}
