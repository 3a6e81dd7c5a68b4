"""Networks of segmentation-models-pytorch (the extra ``smp``) behind the protocol of this program's own.

It knows that library's names. It knows no weights and no files.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.errors import UsageError, cut, short

PREFIX = "smp:"
SIDE = 32
"""Sides of images must be multiples of it there."""
_ANY_OF_TIMM = "tu-"
"""Before the name of an encoder that the library takes from timm, whatever it is called there."""


class PaddedNetwork(nn.Module):
    """A network that wants sides that are multiples of 32, for images [N, 3, H, W] of any size.

    The last row and the last column are repeated below and to the right, as far as needed, and what the
    network says there is cut off: a pixel keeps its place and its surroundings. ``trunk`` and ``head`` are as
    of `pipeline.models.deeplab.DeepLabV3`. Raises UsageError for images that the network cannot take.
    """

    trunk = "network.encoder."
    head = "network.segmentation_head.0."

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        below, right = -height % SIDE, -width % SIDE
        if below or right:
            images = F.pad(images, (0, right, 0, below), mode="replicate")  # [N, 3, 32 * h, 32 * w]
        try:
            outputs: Tensor = self.network(images)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, AssertionError) as error:  # some take large or square images only
            raise UsageError(
                f"{type(self.network).__name__} of segmentation-models-pytorch takes no images of {height} x "
                f"{width} pixels ({_reason(error)}); choose another --resolution or --architecture"
            ) from error
        return outputs[..., :height, :width]


def build_other(name: str, encoder: str, num_outputs: int) -> nn.Module:
    """The network of a class of the library, such as ``Unet``, on an encoder, with random weights.

    Raises UsageError, one line, for a name or an encoder that it does not have, for a pair that it does not
    build, or where the library is not installed.
    """
    library = _library()
    classes = {
        key: kind
        for key, kind in vars(library).items()
        if isinstance(kind, type) and issubclass(kind, nn.Module)
    }
    if name not in classes:
        raise UsageError(f"--architecture is {short(PREFIX + name)}; {_known(name, sorted(classes), PREFIX)}")
    encoders = library.encoders.get_encoder_names()
    if encoder not in encoders and not encoder.startswith(_ANY_OF_TIMM):
        raise UsageError(f"--backbone is {short(encoder)}; {_known(encoder, encoders)}")
    try:
        network = classes[name](
            encoder_name=encoder, encoder_weights=None, in_channels=3, classes=num_outputs
        )
    except (ValueError, LookupError, RuntimeError, NotImplementedError, AttributeError, TypeError) as error:
        raise UsageError(
            f"{PREFIX}{name} cannot be built on --backbone {short(encoder)}; choose another "
            f"({_reason(error)})"
        ) from error
    return PaddedNetwork(network)


def _library() -> ModuleType:
    try:
        return importlib.import_module("segmentation_models_pytorch")
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--architecture {PREFIX}NAME needs {error.name}, which is not installed; "
            "run: pip install 'dgan[smp]'"
        ) from error
    except Exception as error:  # a torchvision of another build fails in torch, in many ways
        raise UsageError(
            f"segmentation-models-pytorch cannot be imported ({_reason(error)}); install the torchvision "
            "that belongs to this torch, of the same index"
        ) from error


def _reason(error: Exception) -> str:
    """What another library says, in one line."""
    return cut(" ".join(str(error).split()))


def _known(name: str, known: Sequence[str], prefix: str = "") -> str:
    """What is known: all of a few names, or the nearest ones of many."""
    if len(known) <= 20:
        return f"expected {', '.join(prefix + each for each in known)}"
    near = difflib.get_close_matches(name, known, 5, cutoff=0.0)
    return f"expected one of {len(known)} encoders, such as {', '.join(near)}, or {_ANY_OF_TIMM}NAME of timm"
