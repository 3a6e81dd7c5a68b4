"""Runs a network on pictures, a few at a time. It does not know where they come from, nor what is made of the
outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.labelling.heat_maps import peaks
from pipeline.machine.device import upload
from pipeline.segment.pictures import normalised

BATCH = 4
"""Pictures in one forward pass. A run that goes on after a kill must make the same batches."""


@torch.inference_mode()
def outputs_of(network: nn.Module, pictures: Sequence[NDArray[np.uint8]], device: torch.device) -> Tensor:
    """The outputs for pictures of one size, each (H, W, 3) uint8: [N, K, H, W] float32 on the device."""
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)  # [N, H, W, 3] -> [N, 3, H, W]
    found: Tensor = network(normalised(upload(images, device)))
    return found.float()


def found_points(outputs: Tensor, sizes: NDArray[np.integer]) -> NDArray[np.float32]:
    """The highest point of each heat map [N, K, H, W]: (N, K, 3) x, y and value, in pixels of pictures whose
    (height, width) are ``sizes`` (N, 2).
    """
    height, width = outputs.shape[-2:]
    points = peaks(outputs.permute(0, 2, 3, 1)).cpu().numpy()  # [N, H, W, K] -> (N, K, 3)
    scale = sizes[:, ::-1] / np.array([width, height])  # (N, 2), of x and y
    points[..., :2] *= scale[:, None, :]
    return points.astype(np.float32)
