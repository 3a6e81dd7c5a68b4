"""ResNet-50 and -101 as trunks of a segmentation network, with torchvision's parameter names.

He et al. 2016, "Deep Residual Learning" (arXiv 1512.03385), Table 1; as in torchvision the stride of a block
is in its 3x3 convolution. Dilation takes the place of stride in the last stages (Chen et al. 2017, arXiv
1706.05587, section 3.1). It knows no classes and no files.
"""

from __future__ import annotations

from torch import Tensor, nn

NUM_BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
"""Blocks of each of the four stages."""
NUM_CHANNELS = 2048
"""Of the last features."""
STRIDES = (8, 16, 32)
_EXPANSION = 4
_WIDTHS = (64, 128, 256, 512)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut: [N, C, h, w] to [N, 4 * width, h / stride, ...]."""

    def __init__(self, num_in: int, width: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        num_out = width * _EXPANSION
        self.conv1 = nn.Conv2d(num_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, num_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(num_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or num_in != num_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(num_in, num_out, 1, stride, bias=False), nn.BatchNorm2d(num_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        x += shortcut
        return self.relu(x)


class ResNet(nn.Module):
    """Images [N, 3, H, W] to features [N, 2048, H / output_stride, W / output_stride], rounded up.

    num_blocks: of the four stages, as ``NUM_BLOCKS`` has them. output_stride: 8, 16 or 32.
    """

    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module

    def __init__(self, num_blocks: tuple[int, ...], output_stride: int) -> None:
        super().__init__()
        if output_stride not in STRIDES:
            raise ValueError(f"output stride {output_stride}; a ResNet has 8, 16 or 32")
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        num_in, reached = 64, 4
        for stage, (width, num) in enumerate(zip(_WIDTHS, num_blocks, strict=True), 1):
            wanted = 1 if stage == 1 else 2
            stride = min(wanted, output_stride // reached)
            # The first block keeps the dilation of the stage before: what follows it lies denser than usual.
            before = _dilation(stage - 1, output_stride)
            blocks = [Bottleneck(num_in, width, stride=stride, dilation=before)]
            num_in, reached = width * _EXPANSION, reached * stride
            dilation = _dilation(stage, output_stride)
            blocks += [Bottleneck(num_in, width, dilation=dilation) for _ in range(num - 1)]
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return x


def _dilation(stage: int, output_stride: int) -> int:
    """How many pixels of a stage's features lie where one would lie without dilation, along an axis."""
    return max(1, 2 ** (stage + 1) // output_stride)


def initialise(trunk: nn.Module) -> None:
    """torchvision's initial weights: a convolution's N(0, 2 / fan_out) (He et al. 2015, arXiv 1502.01852,
    equation 14), its bias 0; a batch norm begins as torch makes it, the identity.
    """
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d) and not module.weight.is_meta:  # which has a shape and no values
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
