"""DeepLabV3 of few blocks and channels: torchvision's names and all rules, in little time and memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipeline.models import deeplab, resnet
from pipeline.segment import networks

NUM_BLOCKS = {"resnet50": (1, 1, 1, 1), "resnet101": (1, 1, 2, 1)}
WIDTHS = (4, 8, 12, 16)
"""Of the stages of a ResNet, where there are 64 to 512; the head has 4, not 256."""


@contextmanager
def thin_networks() -> Iterator[None]:
    """A block in which ResNets and the head are thin. MobileNetV3, which is small, is whole."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deeplab, "_WIDTH", WIDTHS[0])
        patch.setattr(resnet, "_WIDTHS", WIDTHS)
        for name, num_blocks in NUM_BLOCKS.items():
            patch.setitem(resnet.NUM_BLOCKS, name, num_blocks)
            thin = deeplab.BACKBONES[name]._replace(num_channels=4 * WIDTHS[-1])
            patch.setitem(deeplab.BACKBONES, name, thin)
        networks._trunk_shapes.cache_clear()
        yield
    networks._trunk_shapes.cache_clear()
