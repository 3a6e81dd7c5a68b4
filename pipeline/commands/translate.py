"""The commands ``dgan translate train`` and ``apply``."""

from __future__ import annotations

from typing import Any

import click

from pipeline.api import runs
from pipeline.commands.options import command_options, echo_lines, note
from pipeline.commands.program import Command, Commands
from pipeline.settings.schema import TRANSLATE_APPLY, TRANSLATE_TRAIN


@click.group(
    "translate",
    cls=Commands,
    short_help="Make a dataset's images look like photographs.",
    examples=(
        "dgan translate train --source dataset.zarr --target photos",
        "dgan translate apply translator --data dataset.zarr",
    ),
)
def translate() -> None:
    """Learn to carry images from one domain to another, and carry a dataset's images over: labels stay."""


@translate.command(
    "train",
    cls=Command,
    short_help="Learn to translate between two sets of images.",
    examples=(
        "dgan translate train --source dataset.zarr --target photos",
        "dgan translate train --target photos --no-adversary --epochs 20",
    ),
)
@command_options(TRANSLATE_TRAIN)
def translate_train(**flags: Any) -> None:
    """Train a CycleGAN between two sets of images, paired or not."""
    echo_lines(runs.translate_train(note, **flags).lines)


@translate.command(
    "apply",
    cls=Command,
    short_help="Translate a dataset's images; labels stay.",
    examples=(
        "dgan translate apply translator --data dataset.zarr",
        "dgan translate apply translator --data dataset.zarr --store night.zarr",
    ),
)
@command_options(TRANSLATE_APPLY)
def translate_apply(**flags: Any) -> None:
    """Write a dataset with the translated images and the same labels."""
    echo_lines(runs.translate_apply(note, **flags).lines)
