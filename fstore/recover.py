"""Recovers the native maps of a dense store: what its features were interpolated from.

A dense feature is a linear function of the native values, a matrix for the rows and one for the columns. The
pseudo-inverses of the two give back maps that are interpolated to the same features, up to the rounding of
float16 in which the store holds them. What the store does not show (a row outside the crop) stays near zero.

It knows layers and their sizes. It does not know what the maps are for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from fstore import format as fmt
from fstore.interpolate import NEAREST, axis_taps, nearest_source

ROWS = fmt.TILE  # of the features that are read at once


def recover_maps(meta: fmt.FeatureMeta, read: Callable[[int, int], np.ndarray]) -> list[Tensor]:
    """Maps of every layer of an image, [h, w, c] float16 each, from its dense features.

    ``read(start, stop)`` gives rows [start, stop) of them, (stop - start, W, C) float16.
    """
    runs = resolution_runs(meta.layers)
    (height, width), (top, _) = meta.grid, meta.crop_rows
    sums = [torch.zeros(*run[0].resolution, sum(la.channels for la in run)) for run in runs]
    for start in range(0, meta.height, ROWS):
        stop = min(start + ROWS, meta.height)
        rows = torch.from_numpy(np.require(read(start, stop), requirements="W"))  # [R, W, C]
        for run, total in zip(runs, sums, strict=True):
            (h, w), channels = run[0].resolution, total.shape[2]
            block = rows[:, :, run[0].offset : run[0].offset + channels]
            if (h, w) == meta.grid:
                total[top + start : top + stop] = block
                continue
            of_columns = inverse(w, width, 0, width, meta.upsample)  # [w, W]
            of_rows = inverse(h, height, *meta.crop_rows, meta.upsample)[:, start:stop]  # [h, R]
            narrow = torch.matmul(of_columns, block.float())  # [R, w, c]
            total.view(h, -1).addmm_(of_rows, narrow.view(len(rows), -1))
    maps: list[Tensor] = []
    for run, total in zip(runs, sums, strict=True):
        maps += total.half().split([layer.channels for layer in run], dim=2)
    return maps


def resolution_runs(layers: Sequence[fmt.LayerInfo]) -> list[list[fmt.LayerInfo]]:
    """Layers that follow one another with the same resolution, together."""
    return [list(run) for _, run in groupby(layers, key=lambda layer: layer.resolution)]


@cache
def inverse(source: int, target: int, first: int, last: int, mode: str) -> Tensor:
    """Pseudo-inverse [source, last - first] float32 of resizing an axis to its targets [first, last)."""
    index = torch.arange(first, last)
    matrix = torch.zeros(last - first, source, dtype=torch.float64)
    rows = torch.arange(last - first)
    if mode == NEAREST:
        matrix[rows, nearest_source(source, target, index)] = 1
    else:
        lower, upper, weight = axis_taps(source, target, index)
        matrix.index_put_((rows, lower), 1 - weight.double(), accumulate=True)
        matrix.index_put_((rows, upper), weight.double(), accumulate=True)
    return torch.linalg.pinv(matrix).float()
