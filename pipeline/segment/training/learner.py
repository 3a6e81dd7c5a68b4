"""Optimises a segmentation network: the losses, one step on a batch, and what a resumed run must find.

It knows tensors. It knows no epochs, stores or files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fstore.meta import KeypointInfo
from pipeline.inputs.photographs import IGNORED
from pipeline.labelling.heat_maps import heat
from pipeline.machine.device import upload
from pipeline.machine.random_streams import Purpose, counter_based
from pipeline.segment.pictures import normalised

NORM_MOMENTUM = 0.1
"""Least weight of a batch in the running statistics of batch norm: torch's own, which ResNets have.
MobileNetV3's 0.01 is made for trainings of 100,000s of steps. After some hundred the statistics still lag: on
the demo mIoU was 0.12 after 392 steps, and 0.71 with the statistics of the tested images.
"""
Objective = Callable[[Tensor, Tensor], Tensor]
"""From outputs [N, K, H, W] float32 and targets to the loss, a number."""


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of logits [N, K, H, W] against labels [N, H, W] int64, the mean over the pixels to learn.

    A pixel IGNORED counts nowhere. Where all are, the loss is 0.
    """
    total = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    return total / (labels != IGNORED).sum().clamp(min=1)


def heat_loss(maps: Tensor, points: Tensor, sigma: float) -> Tensor:
    """Mean squared error of heat maps [N, K, H, W] against those of keypoints [N, K, 3].

    The target of a point is exp(-d^2 / (2 sigma^2)), d the distance in pixels. The mean is over the pixels of
    the maps whose point is to be learnt, which its third value says, 1 or 0. Where none is, the loss is 0.
    """
    height, width = maps.shape[-2:]
    columns, rows = (_line(length, maps.device) for length in (width, height))
    # The exponential of a sum is a product: one factor along each axis.
    across = heat(columns, points[:, None, :, :1], sigma).transpose(1, 2)  # [N, K, W]
    down = heat(rows, points[:, None, :, 1:2], sigma).transpose(1, 2)  # [N, K, H]
    errors = (maps - down[..., None] * across[:, :, None]).square().mean((2, 3))  # [N, K]
    learnt = points[..., 2]
    return (errors * learnt).sum() / learnt.sum().clamp(min=1)


def _line(length: int, device: torch.device) -> Tensor:
    """The centres of the pixels along an axis: [length, 1] float32."""
    return torch.arange(length, dtype=torch.float32, device=device)[:, None] + 0.5


def objective_of(keypoints: KeypointInfo | None) -> Objective:
    """The loss of classes, or of these keypoints' heat maps."""
    return label_loss if keypoints is None else partial(heat_loss, sigma=keypoints.sigma)


def seed_torch(seed: int, step: int) -> None:
    """Seed torch's own random numbers: of the first weights at step 0, of dropout at the steps from 1 on.

    Each step begins anew, so that a run that goes on needs no generator's state.
    """
    torch.manual_seed(int(counter_based(Purpose.SEGMENT_TORCH, seed, step).integers(2**63)))


class Learner:
    """A network and its optimiser, Adam. A class, because steps change both.

    ``precision``: the type of the convolutions, None: float32; weights, loss and Adam are float32.
    ``memory_format``: how images and weights lie in memory.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        learning_rate: float,
        device: torch.device,
        precision: torch.dtype | None = None,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self.network = network.to(device, memory_format=memory_format)  # type: ignore[call-overload]
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d) and module.momentum is not None:
                module.momentum = max(module.momentum, NORM_MOMENTUM)
        self.device = device
        self._objective, self._precision, self._format = objective, precision, memory_format
        self._adam = torch.optim.Adam(self.network.parameters(), lr=learning_rate, fused=True)

    def step(self, images: Tensor, targets: Tensor) -> Tensor:
        """One optimisation step on images [N, 3, H, W] uint8 and their targets. Returns the loss."""
        self._adam.zero_grad(set_to_none=True)
        pictures = normalised(upload(images, self.device)).contiguous(memory_format=self._format)
        with torch.autocast(self.device.type, self._precision, enabled=self._precision is not None):
            outputs = self.network.train()(pictures)
        loss = self._objective(outputs.float(), upload(targets, self.device))
        loss.backward()
        self._adam.step()
        return loss.detach()

    def weights(self) -> dict[str, Tensor]:
        """The network's tensors by torchvision's names: on the CPU, contiguous, of no other tensor."""
        return {
            name: tensor.detach().to("cpu", copy=True).contiguous()
            for name, tensor in self.network.state_dict().items()
        }

    def state(self) -> dict[str, Any]:
        """All that a resumed run must find: ``model`` and ``adam``, tensors on their device."""
        return {"model": dict(self.network.state_dict()), "adam": self._adam.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state``. Raises ValueError for one of another network."""
        try:
            self.network.load_state_dict(state["model"])
            self._adam.load_state_dict(state["adam"])
        except (KeyError, TypeError, RuntimeError, AttributeError) as error:
            raise ValueError(f"it is of another network: {error}") from None
