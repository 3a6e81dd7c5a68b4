"""Finds the axes that a first layer reads, where they are fewer than its channels.

Members that have learnt on k principal axes of the features (``dgan train --subspace``) are saved as members
on all channels: their weights are W_k V^T, of rank k. So are weights of any other origin that happen to be of
low rank. Then W x = (W V) (V^T x): a map is projected once for all members, and each reads k values.

It knows matrices. It knows no maps and no members.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST_SINGULAR = 1e-6  # of the largest: what lies below is the rounding of float32 weights
WORTH = 0.9  # of the multiplications: fewer of them must be left
SEARCH_COST = 20  # times the third power of the channels: multiplications of a search, about


def weight_axes(weight: Tensor, positions: int) -> Tensor | None:
    """Orthonormal axes [c, r] float32 with weight = weight V V^T to rounding, on the weights' device.

    ``weight`` [n, c] float32 is applied to ``positions`` vectors of each image. None where all channels may
    as well be read: where the weights' rank is not low enough to save a tenth, or where the products of one
    image cost less than the search for it.
    """
    n, channels = weight.shape
    if weight.is_meta or positions * n < SEARCH_COST * channels**2:
        return None
    exact = weight.detach().to("cpu", torch.float64)
    squares, axes = torch.linalg.eigh(exact.T @ exact)  # of the singular values, the smallest first
    rank = max(1, int((squares > squares[-1] * LEAST_SINGULAR**2).sum()))
    if rank * (channels + n) > WORTH * channels * n:
        return None
    return axes[:, channels - rank :].to(weight.device, torch.float32).contiguous()
