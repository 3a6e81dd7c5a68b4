"""A release's members as an interpreter: what their files do not say comes from elsewhere.

The files hold weights, and neither the generator nor the grid nor the classes. Those come from the
configuration and the checkpoint, as for extracting features. It knows no images and no stores.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fstore.format import build_layers
from fstore.meta import ClassInfo
from pipeline.checkpoints.read import LoadedGenerator
from pipeline.errors import UsageError
from pipeline.inputs.generator import average_latent, generator_record, render_settings
from pipeline.interpreter.description import InterpreterInfo
from pipeline.interpreter.files import Interpreter
from pipeline.interpreter.released_members import ReleasedMembers, read_members
from pipeline.machine.provenance import created_record
from pipeline.rendering.latents import array_sha256
from pipeline.rendering.layer_selection import with_layers
from pipeline.settings.classes import configured_classes
from pipeline.settings.palettes import default_palette
from pipeline.settings.schema import Config


def load_released(
    folder: Path, loaded: LoadedGenerator, config: Config
) -> tuple[LoadedGenerator, Interpreter, tuple[str, ...]]:
    """The interpreter of the members in ``folder`` on this generator; and what a user should know of it.

    Grid, crop, layers, truncation, noise, average latent and the classes' names are those of ``config``; the
    generator is returned with the layers that these settings select. Members have been trained with as many
    outputs as the largest label of their masks, plus one, which may not be the number of classes: names are
    cut, or made up, to fit. Raises UsageError, one line, naming the file, for members that cannot be used or
    are not of this generator's feature width.
    """
    members = read_members(folder)
    loaded = with_layers(loaded, config.features.layers)
    settings = render_settings(config, loaded)
    native = [(layer.name, layer.resolution, layer.channels) for layer in loaded.generator.layers]
    layers = build_layers(native, settings.grid)
    width, ensemble = sum(layer.channels for layer in layers), members.ensemble
    if width != ensemble.channels:
        raise UsageError(
            f"{folder}: its members take {ensemble.channels} features a pixel, {loaded.path} has {width} in "
            f"{len(layers)} layers; pass the checkpoint that they were trained on, or set [features] layers"
        )
    average, origin = average_latent(config, loaded, settings)
    classes, class_notes = _classes(members, config)
    info = InterpreterInfo(
        members=ensemble.num_members,
        widths=ensemble.widths,
        channels=ensemble.channels,
        classes=classes,
        ignore=None,
        layers=layers,
        grid=settings.grid,
        crop_rows=settings.crop_rows,
        upsample=config.features.upsample,
        generator=generator_record(
            loaded, settings, latent_space="z", average=origin, render_batch=config.features.render_batch
        ),
        store={},
        training={"source": "released members"},
        seeds=(),
        created=created_record(),
    )
    first, last = settings.crop_rows
    notes = [
        f"{folder}: a release's members; the grid of {settings.grid[0]} x {settings.grid[1]}, rows "
        f"{first}:{last}, and truncation {settings.truncation:g} are as {config.source} has them"
    ]
    if ensemble.num_members != config.train.members:
        notes.append(
            f"{folder}: holds {ensemble.num_members} members, {config.source} has {config.train.members}; "
            "all that are there are used"
        )
    return loaded, Interpreter(ensemble, info, average, members.sha256), (*notes, *class_notes)


def released_settings(interpreter: Interpreter) -> dict[str, Any]:
    """What the members' files do not say, as JSON values: a dataset begun with other settings is another."""
    info, average = interpreter.info, interpreter.average_latent
    return {
        "grid": list(info.grid),
        "crop_rows": list(info.crop_rows),
        "upsample": info.upsample,
        "layers": [layer.name for layer in info.layers],
        "average_latent_sha256": None if average is None else array_sha256(average),
    }


def _classes(members: ReleasedMembers, config: Config) -> tuple[tuple[ClassInfo, ...], list[str]]:
    """A class for each output, named as configured as far as that goes; and a note where numbers differ."""
    num_outputs = members.ensemble.num_classes
    named, where = configured_classes(config.annotations)
    names = [entry.name for entry in named] or ["background"]
    names += [f"class_{i}" for i in range(len(names), num_outputs)]
    colors = [entry.color for entry in named] + [None] * num_outputs
    palette = default_palette(num_outputs)
    classes = tuple(ClassInfo(i, names[i], colors[i] or palette[i]) for i in range(num_outputs))
    expected = len(named) or config.annotations.num_classes or num_outputs
    if expected == num_outputs:
        return classes, []
    fate = (
        f"labels from {num_outputs} on never occur"
        if expected > num_outputs
        else f"those from {expected} on are named class_{expected} and so on"
    )
    return classes, [
        f"{members.folder}: its members have {num_outputs} outputs, the largest label that they were trained "
        f"on and 1; {where if named else config.source} has {expected} classes, and {fate}"
    ]
