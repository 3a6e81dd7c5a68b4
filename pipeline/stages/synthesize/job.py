"""What a run of ``dgan synthesize`` has read before it starts, and how its images are made.

It writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from fstore import format as fmt
from pipeline.checkpoints.read import LoadedGenerator
from pipeline.errors import UsageError
from pipeline.interpreter.files import Interpreter
from pipeline.labelling.labelled_images import LabelledImages
from pipeline.machine.random_streams import Purpose
from pipeline.rendering.renderer import Renderer, RenderSettings
from pipeline.settings.schema import Config, SynthesizeConfig


@dataclass(frozen=True)
class SynthesizeJob:
    """Everything a run needs, read and checked."""

    loaded: LoadedGenerator
    interpreter: Interpreter
    average_latent: np.ndarray
    settings: RenderSettings
    meta: fmt.DatasetMeta
    config: SynthesizeConfig
    notes: tuple[str, ...] = ()
    """What a user should know before it begins, a line each."""
    run_config: Config = field(default_factory=Config)
    """All settings of the run, for workers that read interpreter and checkpoint themselves."""
    force: bool = False
    """Whether another checkpoint than the interpreter's is taken."""


def make_source(
    job: SynthesizeJob, device: torch.device, precision: torch.dtype, tile_rows: int | None = None
) -> LabelledImages:
    """The job's images, labelled with products of this precision.

    Raises UsageError for an interpreter with a weight that is no finite number.
    """
    generator, settings, average = job.loaded.generator, job.settings, job.average_latent
    renderer = Renderer(generator, settings, average, device, noise_purpose=Purpose.DATASET_NOISE)
    info, config = job.interpreter.info, job.config
    try:
        return LabelledImages(
            renderer,
            job.interpreter.ensemble,
            info.layers,
            latent_purpose=Purpose.DATASET_LATENTS,
            seed=config.seed,
            score=config.score,
            precision=precision,
            tile_rows=tile_rows,
            upsample=info.upsample,
            keypoints=info.keypoints is not None,
            member_votes=job.meta.member_votes,
        )
    except ValueError as error:
        raise UsageError(f"{config.interpreter}: {error}") from None
