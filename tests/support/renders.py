"""Pictures rendered once for many tests, which ask for the same ones again and again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.models.generator import Rendered
from pipeline.rendering.renderer import Renderer

REMEMBERED: dict[Any, Rendered] = {}


class RememberingRenderer(Renderer):
    """Gives the images of an earlier call, of any renderer, with the same arguments, and no features."""

    def render(self, latents: np.ndarray, space: str, images: Sequence[int]) -> Rendered:
        values = np.ascontiguousarray(latents, np.float32)
        asked = (values.tobytes(), values.shape, space, tuple(images), self._average.numpy().tobytes())
        key = (self.generator, self.settings, *asked)  # the generator itself: none other gets its identity
        if key not in REMEMBERED:
            REMEMBERED[key] = Rendered(super().render(latents, space, images).images, [])
        return REMEMBERED[key]
