"""Makes a segmentation network from its description, and loads weights into it.

Every network maps images [N, 3, H, W], normalised, to outputs [N, K, H, W]. It knows which architecture means
which module,
and not how networks learn.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from pipeline.errors import UsageError, short
from pipeline.models.deeplab import BACKBONES, DeepLabV3
from pipeline.segment.folder import DEEPLAB, SegmenterFolder


def build_network(architecture: str, backbone: str, output_stride: int | None, num_outputs: int) -> nn.Module:
    """A network with random weights, of torch's global generator: [N, 3, H, W] to [N, num_outputs, H, W].

    Raises UsageError, one line, for names that are unknown, an output stride that the backbone does not
    have, or an extra that is not installed.
    """
    if architecture != DEEPLAB:
        raise UsageError(f"--architecture is {short(architecture)}; expected {DEEPLAB}, or smp:NAME")
    if backbone not in BACKBONES:
        raise UsageError(f"--backbone is {short(backbone)}; expected {', '.join(BACKBONES)}")
    strides = BACKBONES[backbone].strides
    if output_stride is not None and output_stride not in strides:
        expected = ", ".join(map(str, strides))
        raise UsageError(f"--output-stride is {output_stride}; {backbone} has {expected}")
    return DeepLabV3(backbone, num_outputs, output_stride)


def load_pretrained(network: nn.Module, path: Path) -> tuple[str, ...]:
    """Load what fits of a file's weights. Returns notes for the user, such as that the head is new.

    Raises UsageError, one line, for a file that is none of weights, or whose weights are of another network.
    """
    raise NotImplementedError


def load_epoch(folder: SegmenterFolder, epoch: int, network: nn.Module) -> None:
    """Load the weights of an epoch. Raises UsageError where the file is damaged or of another network."""
    raise NotImplementedError
