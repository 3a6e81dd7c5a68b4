"""What a run of ``dgan extract-features`` has read before it starts. It writes nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fstore import format as fmt
from pipeline.checkpoints.read import LoadedGenerator
from pipeline.rendering.renderer import RenderSettings
from pipeline.stages.extract.inputs import ExtractInputs


@dataclass(frozen=True)
class ExtractJob:
    """Everything that a run needs, read and checked.

    Two things are left to be checked when it starts: what lies at the store's place, and the pictures that
    were annotated, which are compared with what is rendered.
    """

    loaded: LoadedGenerator
    inputs: ExtractInputs
    average_latent: np.ndarray
    settings: RenderSettings
    meta: fmt.FeatureMeta
    store: str
    render_batch: int

    @property
    def num_images(self) -> int:
        """N: latents, and masks."""
        return len(self.inputs.latents)
