"""``dgan export``: the command that carries a store to other tools."""

from __future__ import annotations

from typing import Any

import click

from pipeline.api import runs
from pipeline.commands.options import command_options, echo_lines, note
from pipeline.commands.program import Command
from pipeline.settings.schema import EXPORT


@click.command(
    EXPORT,
    cls=Command,
    short_help="Write images and labels for other tools.",
    examples=(
        "dgan export dataset.zarr out --format coco --split train=0.9,val=0.1",
        "dgan export features.zarr annotated --format png",
    ),
)
@command_options(EXPORT)
def export(**flags: Any) -> None:
    """Write images and labels of a dataset, or the annotated images of a feature store, as files that other
    tools read.
    """
    echo_lines(runs.export(note, **flags).lines)
