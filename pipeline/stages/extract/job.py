"""What a run of ``dgan extract-features`` has read before it starts. It writes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

import fstore
from fstore import format as fmt
from pipeline.checkpoints.read import LoadedGenerator
from pipeline.rendering.renderer import RenderSettings
from pipeline.settings.schema import Config
from pipeline.stages.extract.begun import Begun, change_line
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
    begun: Begun = field(default_factory=Begun)
    """The images of the store that is gone on with."""
    config: Config = field(default_factory=Config)
    """All settings of the run, for workers that read the checkpoint themselves."""

    @property
    def num_images(self) -> int:
        """N: latents, and masks."""
        return len(self.inputs.latents)

    @property
    def annotated(self) -> fstore.Annotated:
        """Latents and annotations, for the store to compare with its own."""
        inputs, numbers = self.inputs, self.inputs.latents.numbers
        return fstore.Annotated(
            inputs.latents.values,
            inputs.annotations.masks,
            None if inputs.keypoints is None else inputs.keypoints.points,
            numbers=numbers,
            exact=inputs.exact,
            absent=[number for number in self.begun.numbers if number not in set(numbers)],
        )

    def change_line(self, revision: fstore.Revision | None) -> str | None:
        """One line on what the run changes in the images of the store that it goes on with, if anything."""
        keypoints = self.inputs.keypoints is not None
        return change_line(self.store, revision, self.inputs.latents.numbers, keypoints=keypoints)

    def to_compare(self, revision: fstore.Revision | None) -> frozenset[int]:
        """Numbers of the images whose pictures no earlier run has compared: new ones, and corrected ones."""
        numbers = self.inputs.latents.numbers
        if revision is None or not revision.committed:
            return frozenset(numbers)
        corrected = {numbers[image] for image in revision.corrected}
        return frozenset(numbers) - self.begun.known | corrected
