"""The options of a run of ``dgan sample``, and what it has read before it starts. It writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.checkpoints.read import LoadedGenerator
from pipeline.interpreter.pairing import PairedInterpreter
from pipeline.rendering.renderer import Renderer, RenderSettings
from pipeline.settings.options import RANDOM
from pipeline.settings.schema import Config
from pipeline.stages.sample.project import Project

POOL_FACTOR = 20  # latents to choose from, for each that is chosen


@dataclass(frozen=True)
class SampleOptions:
    """What is asked for beside the configuration.

    ``by``: one of `pipeline.settings.options.WAYS`, which may ask the interpreter of the configuration.
    ``pool`` None: 20 latents for each image. ``add``: ``num`` more images for the project in ``out``.
    """

    num: int
    out: Path
    seed: int = 0
    by: str = RANDOM
    pool: int | None = None
    add: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class SampleJob:
    """Everything a run needs, read and checked."""

    loaded: LoadedGenerator
    config: Config
    options: SampleOptions
    settings: RenderSettings
    average_latent: NDArray[np.float32]
    rendering: dict[str, Any]
    """What the pictures follow from, beside their latents."""
    trained: PairedInterpreter | None
    """The interpreter that is asked."""
    found: Project | None
    """The project that is in the folder."""
    annotated: NDArray[np.int64] | None = None
    """(K,) pixels of each class that are annotated; None where the choice does not look at them."""

    @property
    def present(self) -> tuple[tuple[int, int], ...]:
        """(seed, number) of the images that the project has and keeps."""
        return self.found.latents if self.found is not None and self.options.add else ()

    @property
    def pool_size(self) -> int:
        """Latents to choose from."""
        options = self.options
        chooses = options.by != RANDOM
        return (options.pool or POOL_FACTOR * options.num) if chooses else options.num

    def renderer(self, device: torch.device) -> Renderer:
        """What renders the job's pictures."""
        return Renderer(self.loaded.generator, self.settings, self.average_latent, device)
