"""The noise that a generator adds to its layers, chosen so that an image and its labels stay in register.

If noise were drawn anew at every forward pass, the parts of an image would move between the pass that gave
the features and the pass that gave the labels. Here noise is a function of a seed. This module knows only
shapes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pipeline.machine.random_streams import Purpose, counter_based


def noise_maps(
    shapes: Sequence[tuple[int, int]],
    mode: str,
    seed: int,
    image_indices: Sequence[int],
    purpose: Purpose = Purpose.ANNOTATED_NOISE,
) -> list[torch.Tensor]:
    """One float32 CPU tensor for each of ``shapes``, the generator's noise inputs (h, w) in order.

    mode "const": [1, 1, h, w], standard normal keyed by (seed, layer), the same for every image;
    "zero": [1, 1, h, w] of zeros; "random": [B, 1, h, w] keyed by (purpose, seed, image, layer). ``purpose``
    says whose images these are: an annotator's or a dataset's.
    Made by numpy on the CPU, so that every device is given the same values.
    """
    if mode == "zero":
        return [torch.zeros(1, 1, *shape) for shape in shapes]
    if mode == "const":
        return [
            _normal(Purpose.CONSTANT_NOISE, seed, [layer], 0, shape) for layer, shape in enumerate(shapes)
        ]
    if mode == "random":
        return [_normal(purpose, seed, image_indices, layer, shape) for layer, shape in enumerate(shapes)]
    raise ValueError(f'noise mode is {mode!r}; expected "const", "zero" or "random"')


def _normal(
    purpose: Purpose, seed: int, indices: Sequence[int], part: int, shape: tuple[int, int]
) -> torch.Tensor:
    maps = np.empty((len(indices), 1, *shape), dtype=np.float32)  # [B, 1, h, w]
    for row, index in zip(maps, indices, strict=True):
        counter_based(purpose, seed, int(index), part).standard_normal(dtype=np.float32, out=row)
    return torch.from_numpy(maps)
