"""Loads an interpreter together with the generator whose features it reads, and checks that the two fit.

It decides which checkpoint belongs to an interpreter, of this program or of a release. It samples and labels
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fstore.format import build_layers
from pipeline.checkpoints.read import LoadedGenerator
from pipeline.errors import UsageError
from pipeline.inputs.checkpoint_choice import load_chosen
from pipeline.interpreter.files import Interpreter, load_interpreter
from pipeline.interpreter.folder import DESCRIPTION, check_place
from pipeline.interpreter.released import is_released, load_released, released_settings
from pipeline.models.selection import select_layers
from pipeline.rendering.renderer import RenderSettings
from pipeline.settings.schema import Config


@dataclass(frozen=True)
class PairedInterpreter:
    """An interpreter and its generator."""

    loaded: LoadedGenerator
    """The generator, with the feature layers that ``interpreter`` has learnt and no others."""
    interpreter: Interpreter
    average_latent: np.ndarray
    """(D,) or (L, D) float32, of this generator's D."""
    notes: tuple[str, ...] = ()
    """What a user should know, a line each."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What labels depend on and ``interpreter.sha256`` does not cover, for a dataset to record."""


def load_paired(config: Config, *, force: bool | None = None) -> PairedInterpreter:
    """The interpreter that ``config`` names, with the checkpoint that is given or else belongs to it.

    Raises UsageError, one line, where either cannot be used, or where the interpreter was trained on another
    checkpoint. ``force`` takes another checkpoint all the same; None says that the command has no --force. A
    release's members do not say which checkpoint they were trained on.
    """
    folder = config.synthesize.interpreter
    check_place(folder)
    if is_released(folder):
        loaded, interpreter, notes = load_released(folder, load_chosen(config, {}), config)
        average = _average_latent(folder, loaded, interpreter)
        return PairedInterpreter(loaded, interpreter, average, notes, released_settings(interpreter))
    interpreter = load_interpreter(folder)
    _check_rendering(folder, interpreter)
    recorded = interpreter.info.generator
    loaded = load_chosen(config, recorded)
    if loaded.sha256 == recorded.get("sha256") and loaded.key != recorded.get("key") and not force:
        raise UsageError(
            f"{loaded.path}: --key {config.generator.key} is another of its generators than the interpreter "
            f"{folder} was trained on; leave --key out"
            + ("" if force is None else ", or pass --force to label with this one all the same")
        )
    if loaded.sha256 != recorded.get("sha256") and not force:
        raise UsageError(
            f"{loaded.path}: sha256 is {loaded.sha256[:12]}..., the interpreter {folder} was trained on "
            f"{recorded.get('checkpoint')} with {str(recorded.get('sha256'))[:12]}...; pass that checkpoint"
            + ("" if force is None else ", or --force to label with this one all the same")
        )
    loaded = _with_layers_of(interpreter, loaded)
    return PairedInterpreter(loaded, interpreter, _average_latent(folder, loaded, interpreter))


def _check_rendering(folder: Path, interpreter: Interpreter) -> None:
    """Refuse a description that does not say how to render. Raises UsageError, which names the file."""
    info = interpreter.info
    try:
        RenderSettings.from_record(info.generator, info.grid, info.crop_rows)
    except UsageError as error:
        raise UsageError(f"{folder / DESCRIPTION}: {error}") from None


def _with_layers_of(interpreter: Interpreter, loaded: LoadedGenerator) -> LoadedGenerator:
    """The generator with the feature layers that the interpreter has learnt, some or all of its own."""
    info = interpreter.info
    wanted, own = [la.name for la in info.layers], [la.name for la in loaded.generator.layers]
    if set(wanted) < set(own):
        loaded = replace(loaded, generator=select_layers(loaded.generator, wanted))
    found = build_layers([(la.name, la.resolution, la.channels) for la in loaded.generator.layers], info.grid)
    if found != info.layers:
        width = sum(layer.channels for layer in found)
        raise UsageError(
            f"{loaded.path}: its {len(found)} feature layers ({width} channels) are not those of the "
            f"interpreter ({len(info.layers)} layers, {info.channels} channels); pass the checkpoint that it "
            "was trained on"
        )
    return loaded


def _average_latent(folder: Path, loaded: LoadedGenerator, interpreter: Interpreter) -> np.ndarray:
    average, entries = interpreter.average_latent, loaded.generator.latent_size
    if average is None or average.shape[-1] != entries:
        found = "none" if average is None else f"one of shape {average.shape}"
        raise UsageError(
            f"{folder}: its average latent is {found}, expected {entries} entries as {loaded.path} has; "
            "train again on a store of this checkpoint"
        )
    return average
