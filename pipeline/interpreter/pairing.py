"""An interpreter together with the generator that it reads: loaded, matched, ready to label what is rendered.

Here it is settled which checkpoint belongs to an interpreter, be it this program's or a release's. It samples
and labels nothing.
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
from pipeline.interpreter.released import load_released, released_settings
from pipeline.interpreter.released_members import is_released
from pipeline.models.selection import select_layers
from pipeline.settings.schema import Config


@dataclass(frozen=True)
class Trained:
    """A generator, with the feature layers that ``interpreter`` has learnt and no others."""

    loaded: LoadedGenerator
    interpreter: Interpreter
    average_latent: np.ndarray
    """(D,) or (L, D) float32, of this generator's D."""
    notes: tuple[str, ...] = ()
    """What a user should know, a line each."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What labels depend on and ``interpreter.sha256`` does not cover, for a dataset to record."""


def load_trained(config: Config, *, force: bool | None = None) -> Trained:
    """The interpreter that ``config`` names, on the checkpoint that it names or that belongs to it.

    Raises UsageError, one line, where either cannot be used, or the checkpoint is another one than the
    interpreter was trained on and ``force`` is not set (None: nor can be). A release's members say of none.
    """
    folder = config.synthesize.interpreter
    if is_released(folder):
        loaded, interpreter, notes = load_released(folder, load_chosen(config, {}), config)
        average = _average_latent(folder, loaded, interpreter)
        return Trained(loaded, interpreter, average, notes, released_settings(interpreter))
    interpreter = load_interpreter(folder)
    record = interpreter.info.generator
    loaded = load_chosen(config, record)
    if loaded.sha256 == record.get("sha256") and loaded.key != record.get("key") and not force:
        raise UsageError(
            f"{loaded.path}: --key {config.generator.key} is another of its generators than the interpreter "
            f"{folder} was trained on; leave --key out"
            + ("" if force is None else ", or pass --force to label with this one all the same")
        )
    if loaded.sha256 != record.get("sha256") and not force:
        raise UsageError(
            f"{loaded.path}: sha256 is {loaded.sha256[:12]}..., the interpreter {folder} was trained on "
            f"{record.get('checkpoint')} with {str(record.get('sha256'))[:12]}...; pass that checkpoint"
            + ("" if force is None else ", or --force to label with this one all the same")
        )
    loaded = _with_layers_of(interpreter, loaded)
    return Trained(loaded, interpreter, _average_latent(folder, loaded, interpreter))


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
