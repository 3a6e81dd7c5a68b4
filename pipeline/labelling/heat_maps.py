"""Turns keypoints into Gaussian heat maps and back: targets, loss, peaks with sub-pixel positions, PCK.

Pure functions of arrays and tensors. Nothing here knows of files, stores or generators.

A keypoint is (x, y) in pixels of the image, x to the right; the pixel (row, column) has its centre at
(column, row) + 0.5. A third value is 1 where the point is labelled and 0 where not, or a confidence.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fstore.sampler import Batch

MASK_SIGMAS = 3.0  # of the disc around a keypoint that is a class of its own in the masks
SIGMAS_A_SIDE = 64  # by default sigma is this part of the image's side, at least a pixel
LEAST_NEIGHBOUR = 1e-3  # of a peak's value: below it the logarithm of a neighbour is of noise


def default_sigma(side: int) -> float:
    """Sigma of the heat maps, in pixels, of a grid with ``side`` rows."""
    return max(1.0, side / SIGMAS_A_SIDE)


def heat(positions: Tensor, points: Tensor, sigma: float) -> Tensor:
    """What heat maps of ``points`` [..., K, 2] hold at ``positions`` [..., 2]: [..., K], 1 at the points.

    exp(-d^2 / (2 sigma^2)), d the distance in pixels.
    """
    squares = (positions[..., None, :] - points).square().sum(-1)
    return torch.exp(squares / (-2 * sigma**2))


def region_mask(points: NDArray[np.floating], height: int, width: int, sigma: float) -> NDArray[np.integer]:
    """A mask (height, width) of keypoints (K, 3), in uint8, or uint16 beyond 255 points.

    A pixel's label is k + 1 where labelled point k is the nearest and at most 3 sigma away, and 0 elsewhere.
    The pixel that a point lies in belongs to the point even where 3 sigma are less than a pixel.
    """
    dtype = np.uint8 if len(points) <= 255 else np.uint16
    mask = np.zeros((height, width), dtype)
    radius = max(MASK_SIGMAS * sigma, 0.75)
    nearest = np.full((height, width), radius**2)
    for k, (px, py, labelled) in enumerate(points.tolist()):
        if labelled:
            rows, columns = (
                np.arange(max(0, floor(p - radius)), min(size, ceil(p + radius)))
                for p, size in ((py, height), (px, width))
            )
            disc = np.ix_(rows, columns)
            squares = (rows[:, None] + 0.5 - py) ** 2 + (columns[None, :] + 0.5 - px) ** 2
            mask[disc] = np.where(squares < nearest[disc], k + 1, mask[disc])
            nearest[disc] = np.minimum(squares, nearest[disc])
    return mask


def heat_objective(
    points: NDArray[np.floating], height: int, width: int, sigma: float, device: torch.device
) -> Callable[[Tensor, Batch], Tensor]:
    """The loss of heat maps' values [E, B, K] at a batch's pixels: squared error, summed over the keypoints,
    averaged over each member's part of the batch: [E].

    ``points`` (N, K, 3): those of the store's images. A keypoint that is not labelled in an image adds
    nothing to the loss there.
    """
    known = torch.from_numpy(np.asarray(points, np.float32)).to(device)  # [N, K, 3]

    def objective(outputs: Tensor, batch: Batch) -> Tensor:
        image, row, column = np.unravel_index(batch.pixels, (len(points), height, width))  # [E, B] each
        positions = torch.from_numpy(np.stack([column, row], -1) + 0.5).to(device, torch.float32)
        drawn = known[torch.from_numpy(image).to(device)]  # [E, B, K, 3]
        target = heat(positions, drawn[..., :2], sigma)
        return ((outputs - target).square() * drawn[..., 2]).sum(dim=(1, 2)) / batch.pixels.shape[1]

    return objective


def peaks(heatmaps: Tensor) -> Tensor:
    """The highest point of each heat map: [n, h, w, K] float -> [n, K, 3] float32 (x, y, value), in pixels.

    Along each axis, a parabola through the logarithms of the highest pixel and its two neighbours says where
    between the pixels the peak is. This is exact for a Gaussian. At the border of the map, where a neighbour
    is missing, the peak is at the pixel's centre. The value is that of the highest pixel.
    """
    n, height, width, k = heatmaps.shape
    flat = heatmaps.float().permute(0, 3, 1, 2).reshape(n * k, height * width)
    value, place = flat.max(dim=1)  # [n * K]
    row, column = place // width, place % width
    y = row + 0.5 + _refined(flat, place, row, height, width, value)
    x = column + 0.5 + _refined(flat, place, column, width, 1, value)
    return torch.stack([x, y, value], dim=1).reshape(n, k, 3)


def _refined(flat: Tensor, place: Tensor, index: Tensor, length: int, step: int, value: Tensor) -> Tensor:
    """By how much the peak lies beyond the pixel along one axis, in [-1/2, 1/2] pixels: [m] float32."""
    floor = value * LEAST_NEIGHBOUR

    def neighbour(offset: int) -> Tensor:
        beside = (place + offset * step).clamp(0, flat.shape[1] - 1)
        return flat.gather(1, beside[:, None])[:, 0].maximum(floor).log()

    before, after = neighbour(-1), neighbour(1)
    bend = before - 2 * value.log() + after
    shift = 0.5 * (before - after) / bend
    inside = (index > 0) & (index < length - 1) & (value > 0) & (bend < 0)
    return torch.where(inside, shift, 0.0).clamp(-0.5, 0.5)


def pck(found: NDArray[np.floating], truth: NDArray[np.floating], fraction: float, side: int) -> float:
    """The share of labelled keypoints found within ``fraction`` of ``side``, the larger side of the image.

    ``found`` (n, K, 2 or more), ``truth`` (n, K, 3); PCK@10 is that of fraction 0.1. A point exactly as far
    away counts. NaN where none is labelled.
    """
    distance = np.linalg.norm(found[..., :2].astype(np.float64) - truth[..., :2], axis=-1)  # [n, K]
    labelled = truth[..., 2] > 0
    return float((distance[labelled] <= fraction * side).mean()) if labelled.any() else float("nan")
