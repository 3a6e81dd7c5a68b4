"""Which images are rendered together, and what is rendered of them. It knows no store and no annotations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from pipeline.rendering.renderer import Renderer


def pending_batches(pending: Sequence[int], size: int) -> list[tuple[int, list[int]]]:
    """Pending images by render batch: the first image of the batch, and those of it that are pending.

    Image i belongs to batch i // size, whichever images are pending.
    """
    groups: dict[int, list[int]] = {}
    for image in pending:
        groups.setdefault(image // size, []).append(image)
    return [(batch * size, images) for batch, images in groups.items()]


def batch_images(first: int, size: int, num_images: int) -> list[int]:
    """The images that are rendered with ``first``.

    A network's output changes by a rounding with the size of its batch. So the last batch, where it is short,
    is filled up with copies of its last image.
    """
    return [min(first + place, num_images - 1) for place in range(size)]


def render_batch(
    renderer: Renderer,
    latents: np.ndarray,
    space: str,
    images: Sequence[int],
    numbers: Sequence[int],
    wanted: Sequence[int],
) -> Iterator[tuple[int, list[Tensor], np.ndarray]]:
    """Render a whole batch. Gives each ``wanted`` image of it: index, feature maps [c, h, w] float32, and
    picture (H, W, 3) uint8.

    ``latents``: of the ``images``, [B, ...]. ``numbers``: theirs, by which random noise stays with its image.
    """
    rendered = renderer.render(latents, space, numbers)
    features = rendered.features
    for place, image in enumerate(images):
        if image not in wanted or image in images[:place]:
            continue
        # Of a batch of one the writer empties the list as it goes, which frees each float32 map early.
        maps = (
            [features.pop(0)[0] for _ in range(len(features))]
            if len(images) == 1
            else [feature[place] for feature in features]
        )
        yield image, maps, renderer.picture(rendered.images[place])
