"""MobileNetV3-Large as the trunk of a segmentation network, with torchvision's parameter names.

Howard et al. 2019, "Searching for MobileNetV3" (arXiv 1905.02244): Table 1 and section 5; dilation in the
last blocks as in section 6.4. It knows no classes and no files.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from pipeline.models.resnet import initialise

NUM_CHANNELS = 960
"""Of the last features."""
STRIDES = (16, 32)

_norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)


class _Row(NamedTuple):
    """A row of the paper's Table 1; ``squeezed`` are the channels between the two layers of the
    squeeze-and-excitation, 0 where there is none.
    """

    kernel: int
    expanded: int
    num_out: int
    squeezed: int
    activation: type[nn.Module]
    stride: int


_ROWS = (
    _Row(3, 16, 16, 0, nn.ReLU, 1),
    _Row(3, 64, 24, 0, nn.ReLU, 2),
    _Row(3, 72, 24, 0, nn.ReLU, 1),
    _Row(5, 72, 40, 24, nn.ReLU, 2),
    _Row(5, 120, 40, 32, nn.ReLU, 1),
    _Row(5, 120, 40, 32, nn.ReLU, 1),
    _Row(3, 240, 80, 0, nn.Hardswish, 2),
    _Row(3, 200, 80, 0, nn.Hardswish, 1),
    _Row(3, 184, 80, 0, nn.Hardswish, 1),
    _Row(3, 184, 80, 0, nn.Hardswish, 1),
    _Row(3, 480, 112, 120, nn.Hardswish, 1),
    _Row(3, 672, 112, 168, nn.Hardswish, 1),
    _Row(5, 672, 160, 168, nn.Hardswish, 2),
    _Row(5, 960, 160, 240, nn.Hardswish, 1),
    _Row(5, 960, 160, 240, nn.Hardswish, 1),
)
_FIRST_DILATED = 12
"""The row whose stride dilation replaces; the rows after it are dilated too."""


class SqueezeExcitation(nn.Module):
    """Scales channels by what the whole image shows: [N, C, h, w] to the same shape."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = nn.ReLU()
        self.scale_activation = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        scale = self.activation(self.fc1(self.avgpool(x)))  # [N, squeezed, 1, 1]
        return self.scale_activation(self.fc2(scale)) * x


class InvertedResidual(nn.Module):
    """Expands the channels, convolves each by itself, and projects them: a row of Table 1."""

    def __init__(self, num_in: int, row: _Row, *, dilated: bool) -> None:
        super().__init__()
        stride, dilation = (1, 2) if dilated else (row.stride, 1)
        wide = row.expanded
        layers: list[nn.Module] = []
        if wide != num_in:
            layers.append(_convolution(num_in, wide, row.activation))
        layers.append(
            _convolution(wide, wide, row.activation, row.kernel, stride, groups=wide, dilation=dilation)
        )
        if row.squeezed:
            layers.append(SqueezeExcitation(wide, row.squeezed))
        layers.append(_convolution(wide, row.num_out, None))
        self.block = nn.Sequential(*layers)
        # Where dilation takes the stride's place the sides are equal too, but the row is not one that adds.
        self.adds_input = row.stride == 1 and num_in == row.num_out

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.block(x)
        if self.adds_input:
            result += x
        return result


class MobileNetV3(nn.Sequential):
    """Images [N, 3, H, W] to features [N, 960, H / output_stride, W / output_stride], rounded up.

    output_stride: 16, with dilation, or 32.
    """

    def __init__(self, output_stride: int) -> None:
        if output_stride not in STRIDES:
            raise ValueError(f"output stride {output_stride}; MobileNetV3 has 16 or 32")
        layers: list[nn.Module] = [_convolution(3, 16, nn.Hardswish, 3, 2)]
        num_in = 16
        for number, row in enumerate(_ROWS):
            dilated = output_stride == 16 and number >= _FIRST_DILATED
            layers.append(InvertedResidual(num_in, row, dilated=dilated))
            num_in = row.num_out
        layers.append(_convolution(num_in, NUM_CHANNELS, nn.Hardswish))
        super().__init__(*layers)
        initialise(self)


def _convolution(
    num_in: int,
    num_out: int,
    activation: type[nn.Module] | None,
    kernel: int = 1,
    stride: int = 1,
    *,
    groups: int = 1,
    dilation: int = 1,
) -> nn.Sequential:
    """Convolution, batch norm and activation; with stride 1 the image keeps its size."""
    padding = (kernel - 1) // 2 * dilation
    layers = [
        nn.Conv2d(num_in, num_out, kernel, stride, padding, dilation, groups, bias=False),
        _norm(num_out),
    ]
    return nn.Sequential(*layers, *([] if activation is None else [activation(inplace=True)]))
