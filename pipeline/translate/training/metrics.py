"""What is measured of translated images after each epoch. Pure functions of tensors; means over images are
the business of others.
"""

from __future__ import annotations

from torch import Tensor


def grey_levels(images: Tensor) -> Tensor:
    """Images in [-1, 1] as they are stored: whole numbers from 0 to 255, as floats of the same shape."""
    return ((images + 1) * 127.5).round().clamp(0, 255)


def squared_error(made: Tensor, true: Tensor) -> Tensor:
    """L2: the mean over channels and pixels of squared differences, for values in [0, 1]. [N].

    ``made`` and ``true`` are images [N, 3, H, W] in [-1, 1]; a half of their difference is that of values in
    [0, 1]. 0 is perfect, 1 the distance of black from white.
    """
    return ((made - true) / 2).square().mean(dim=(1, 2, 3))


def pixel_error(made: Tensor, true: Tensor) -> Tensor:
    """The mean over channels and pixels of absolute differences in grey levels of 255, as stored. [N].

    ``made`` and ``true`` are images [N, 3, H, W] in [-1, 1].
    """
    return (grey_levels(made) - grey_levels(true)).abs().mean(dim=(1, 2, 3))
