"""Makes the settings of rendering, the average latent and the record of a generator from a configuration.

Every stage that starts from a generator, and not from a record of one, takes them from here. This module
knows neither stores nor annotations.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.checkpoints.read import LoadedGenerator
from pipeline.errors import UsageError, count
from pipeline.inputs.latent_files import load_average_latent
from pipeline.rendering.latents import array_sha256
from pipeline.rendering.renderer import NUM_AVERAGE_SAMPLES, RenderSettings, computed_average_latent
from pipeline.settings.schema import Config

DEFAULT_RESOLUTION_LIMIT = 512  # the released experiments' feature resolution for generators of 512 and 1024


def render_settings(config: Config, loaded: LoadedGenerator) -> RenderSettings:
    """Grid, crop, truncation and noise. Raises UsageError where they do not fit together or the generator,
    whose feature layers may not have the channels that the configuration says.
    """
    generator = loaded.generator
    _check_channels(config, loaded)
    side = config.features.resolution or min(generator.resolution, DEFAULT_RESOLUTION_LIMIT)
    first, last = config.features.crop_rows or (0, side)
    if last > side:
        raise UsageError(
            f"--crop-rows {first}:{last} ends after row {side}, the last of the resolution; see --resolution"
        )
    layers = config.generator.truncation_layers
    layers = generator.default_truncation_layers if layers is None else layers
    if layers > generator.num_w_layers:
        raise UsageError(
            f"--truncation-layers is {layers}; {loaded.path} has {generator.num_w_layers} W+ layers, "
            "expected no more"
        )
    psi = config.generator.truncation
    return RenderSettings(
        psi, layers, config.generator.noise, config.generator.noise_seed, (side, side), (first, last)
    )


def _check_channels(config: Config, loaded: LoadedGenerator) -> None:
    """All layers together, so nothing is checked where only some are selected."""
    expected, layers = config.features.channels, loaded.generator.layers
    found = sum(layer.channels for layer in layers)
    if expected not in (None, found) and config.features.layers is None:
        raise UsageError(
            f"{loaded.path}: has {count(found, 'feature channel')} in {count(len(layers), 'layer')}, "
            f"{config.source} expects "
            f"{expected} ([features] channels, or dim of an experiment); pass the checkpoint that it is for, "
            "or correct it"
        )


def average_latent(
    config: Config, loaded: LoadedGenerator, settings: RenderSettings
) -> tuple[np.ndarray, str]:
    """The average latent, (D,) or (L, D) float32, and how a record names its origin: the file that the
    configuration names, else the checkpoint, else the mean of seeded samples.

    Raises UsageError where one of the first two has fewer rows than truncation moves.
    """
    if config.generator.average_latent is not None:
        average = load_average_latent(
            config.generator.average_latent,
            latent_size=loaded.generator.latent_size,
            num_w_layers=max(settings.truncation_layers, 1),
        )
        return (average[0] if len(average) == 1 else average), f"sha256 {array_sha256(average)}"
    if loaded.average_latent is not None:
        _check_rows(loaded, settings.truncation_layers)
        return loaded.average_latent, "checkpoint"
    return computed_average_latent(loaded.generator), f"mean of {NUM_AVERAGE_SAMPLES} seeded samples"


def _check_rows(loaded: LoadedGenerator, truncation_layers: int) -> None:
    average = loaded.average_latent
    if average is not None and average.ndim == 2 and len(average) < truncation_layers:
        raise UsageError(
            f"{loaded.path}: its average latent has {len(average)} rows, truncation moves "
            f"{truncation_layers}; pass --average-latent FILE, or a smaller --truncation-layers"
        )


def generator_record(
    loaded: LoadedGenerator, settings: RenderSettings, *, latent_space: str, average: str, render_batch: int
) -> dict[str, Any]:
    """What a store, an interpreter or a project says of its generator: enough to render the same again.

    ``average`` names the origin of the average latent, as `average_latent` returns it. ``class_label`` is
    there where the generator is conditional, ``key`` where the file holds several and the key changes which
    is meant.
    """
    record: dict[str, Any] = {
        "architecture": loaded.generator.architecture,
        "checkpoint": loaded.path.name,
        "sha256": loaded.sha256,
        "latent_space": latent_space,
        "truncation": settings.truncation,
        "truncation_layers": settings.truncation_layers,
        "average_latent": average,
        "noise": settings.noise,
        "noise_seed": settings.noise_seed,
        "render_batch": render_batch,
        "precision": "float32",
    }
    chosen = {"class_label": loaded.class_label, "key": loaded.key}
    return record | {name: value for name, value in chosen.items() if value is not None}
