"""DeepLabV3 (Chen et al. 2017, "Rethinking Atrous Convolution", arXiv 1706.05587) with torchvision's
parameter names, so that weights go from one to the other.

It knows trunks and outputs. It knows no files, and not what an output means.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models import mobilenet_v3, resnet

_WIDTH = 256
"""Channels of the head."""


class Trunk(NamedTuple):
    """What a backbone is: how it is made of an output stride, the channels of its features, the strides that
    it has, and the one that torchvision's network has.
    """

    build: Callable[[int], nn.Module]
    num_channels: int
    strides: tuple[int, ...]
    usual_stride: int


def _resnet(name: str) -> Trunk:
    def build(output_stride: int) -> nn.Module:
        return resnet.ResNet(resnet.NUM_BLOCKS[name], output_stride)

    return Trunk(build, resnet.NUM_CHANNELS, resnet.STRIDES, 8)


BACKBONES = {
    "resnet101": _resnet("resnet101"),
    "resnet50": _resnet("resnet50"),
    "mobilenet_v3": Trunk(
        mobilenet_v3.MobileNetV3, mobilenet_v3.NUM_CHANNELS, mobilenet_v3.STRIDES, usual_stride=16
    ),
}


class DeepLabV3(nn.Module):
    """Images [N, 3, H, W], normalised, to outputs [N, num_outputs, H, W] for any H and W from 1.

    output_stride: one of the backbone's ``strides``; None for torchvision's. To train, a batch needs two
    images: the pooled features have one pixel an image, and batch norm needs two values.

    ``trunk`` and ``head`` are the prefixes of the tensors' names: of those that any network on the backbone
    has, and of those whose shape hangs on the number of outputs.
    """

    trunk = "backbone."
    head = "classifier.4."

    def __init__(self, backbone: str, num_outputs: int, output_stride: int | None = None) -> None:
        super().__init__()
        kind = BACKBONES[backbone]
        stride = output_stride or kind.usual_stride
        self.backbone = kind.build(stride)
        # The rates of torchvision at its own stride; at another the same number of the image's pixels.
        rates = [rate * kind.usual_stride // stride for rate in (12, 24, 36)]
        self.classifier = nn.Sequential(
            AtrousPyramid(kind.num_channels, rates),
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1, bias=False),
            nn.BatchNorm2d(_WIDTH),
            nn.ReLU(),
            nn.Conv2d(_WIDTH, num_outputs, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        outputs = self.classifier(self.backbone(images))  # [N, K, h, w]
        return _resized(outputs, images.shape[-2:])


class AtrousPyramid(nn.Module):
    """Atrous spatial pyramid pooling (section 3.3): one view of the features a rate, one of each pixel, and
    one of the whole image, side by side, projected: [N, C, h, w] to [N, 256, h, w].
    """

    def __init__(self, num_in: int, rates: list[int]) -> None:
        super().__init__()
        views = [_convolution(num_in), *(_convolution(num_in, rate) for rate in rates), PooledView(num_in)]
        self.convs = nn.ModuleList(views)
        self.project = nn.Sequential(*_convolution(_WIDTH * len(views)), nn.Dropout(0.5))

    def forward(self, features: Tensor) -> Tensor:
        views = [view(features) for view in self.convs]
        return self.project(torch.cat(views, dim=1))  # [N, 5 * 256, h, w] before the projection


class PooledView(nn.Sequential):
    """The mean over the image, as an image: [N, C, h, w] to [N, 256, h, w]."""

    def __init__(self, num_in: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), *_convolution(num_in))

    def forward(self, features: Tensor) -> Tensor:
        return _resized(super().forward(features), features.shape[-2:])  # of [N, 256, 1, 1]


class AtrousConv(nn.Conv2d):
    """A 3x3 convolution with a rate, zero-padded: [N, C, h, w] to [N, K, h, w].

    Where the rate is no less than a side, the outer taps along it meet the padding alone. They are left out,
    which gives the same outputs and gradients in a fraction of the time: images of 64 pixels have features of
    4 x 4, and the rates are 12 to 36.
    """

    def __init__(self, num_in: int, num_out: int, rate: int) -> None:
        super().__init__(num_in, num_out, 3, padding=rate, dilation=rate, bias=False)
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        reach = [self.rate < side for side in x.shape[-2:]]
        if all(reach):
            return super().forward(x)
        rows, columns = (slice(0, 3) if reaches else slice(1, 2) for reaches in reach)
        padding = tuple(self.rate if reaches else 0 for reaches in reach)
        return F.conv2d(x, self.weight[:, :, rows, columns], padding=padding, dilation=self.rate)


def _convolution(num_in: int, rate: int | None = None) -> nn.Sequential:
    """1x1, or 3x3 with a rate, to 256 channels; then batch norm and ReLU."""
    convolution = (
        nn.Conv2d(num_in, _WIDTH, 1, bias=False) if rate is None else AtrousConv(num_in, _WIDTH, rate)
    )
    return nn.Sequential(convolution, nn.BatchNorm2d(_WIDTH), nn.ReLU())


def _resized(images: Tensor, size: torch.Size) -> Tensor:
    """Bilinear, the corners of pixels aligned and not their centres: [N, K, h, w] to [N, K, *size]."""
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False)
