"""Carries images through a translator's network: to its size, through it, and back to their own size.

It knows arrays and a network. It knows no stores.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.inputs.pictures.resized import resized_picture

MOST_AT_ONCE = 16  # images
PIXELS_AT_ONCE = 2**18  # of all images that the network takes together: one of 512 x 512, or 16 of 128 x 128


def working_size(shape: tuple[int, int], resolution: int) -> tuple[int, int]:
    """(h, w) at which images of ``shape`` (H, W) are translated: their shorter side becomes ``resolution``.

    That is the size at which the network has seen images; it has learnt on squares, and takes any rectangle.
    """
    shorter = min(shape)
    height, width = (max(1, (2 * side * resolution + shorter) // (2 * shorter)) for side in shape)
    return height, width


def images_at_once(size: tuple[int, int]) -> int:
    """How many images of ``size`` (h, w) the network takes together: 16, 8, 4, 2 or 1.

    It follows from the size alone, and not from the memory that is free: what a network gives moves by a
    rounding with the number of images.
    """
    images = MOST_AT_ONCE
    while images > 1 and images * size[0] * size[1] > PIXELS_AT_ONCE:
        images //= 2
    return images


class ImageTranslation:
    """A network that translates images. A class, because it holds the network on its device.

    ``network`` takes [N, 3, h, w] in [-1, 1] and gives as many values. ``size`` is the (h, w) at which it
    works.
    """

    def __init__(self, network: nn.Module, size: tuple[int, int], device: torch.device) -> None:
        self.num_at_once = images_at_once(size)
        self._network = network.to(device).eval()
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster
        self._size, self._device = size, device

    @torch.inference_mode()
    def translated(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Translate n images (n, H, W, 3), at most ``num_at_once``.

        Returns them, (n, H, W, 3), and (n,) whether all values that the network gave for each are finite; an
        image with others is black there.

        The network is always given ``num_at_once`` images, black ones after the last, so that an image's
        result does not depend on how many follow it.
        """
        num, (height, width) = len(images), images.shape[1:3]
        batch = np.zeros((self.num_at_once, *self._size, 3), np.uint8)
        for place, image in enumerate(images):
            batch[place] = resized_picture(image, self._size)
        given = torch.from_numpy(batch).to(self._device).permute(0, 3, 1, 2)  # [B, 3, h, w]
        found: Tensor = self._network(given.float() / 127.5 - 1)[:num].float()  # [n, 3, h, w]
        finite = torch.isfinite(found).flatten(1).all(1)  # [n]
        found = torch.where(finite[:, None, None, None], found, -1)
        if (height, width) != self._size:  # Pillow's filter, before the values are rounded
            found = F.interpolate(found, (height, width), mode="bicubic", antialias=True)
        pixels = ((found + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy(), finite.cpu().numpy()
