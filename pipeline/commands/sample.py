"""``dgan sample``: the command that begins a project."""

from __future__ import annotations

from typing import Any

import click

from pipeline.api import runs
from pipeline.commands.options import command_options, echo_lines, note
from pipeline.commands.program import Command
from pipeline.settings.schema import SAMPLE


@click.command(
    SAMPLE,
    cls=Command,
    short_help="Render images to annotate, and begin a project.",
    examples=(
        "dgan sample --checkpoint network.pkl --num 40 --diverse --out annotate",
        "dgan sample --interpreter interpreter --num 16 --add --out .",
    ),
)
@command_options(SAMPLE)
def sample(**flags: Any) -> None:
    """Start a project: images to annotate, and a dgan.toml that makes extract-features the next command."""
    echo_lines(runs.sample(note, **flags).lines)
