"""The commands of the three stages. `pipeline.api.runs` runs them; a command prints what is left to say."""

from __future__ import annotations

from typing import Any

import click

from pipeline.api import runs
from pipeline.commands.options import command_options, echo_lines, note
from pipeline.commands.program import Command
from pipeline.settings.schema import EXTRACT, SYNTHESIZE, TRAIN


@click.command(
    EXTRACT,
    cls=Command,
    short_help="Write the features of annotated images to a store.",
    examples=(
        "dgan extract-features --checkpoint g.pkl --latents z.npy --annotations masks/",
        "dgan extract-features --config face_34.toml --dry-run",
    ),
)
@command_options(EXTRACT)
def extract_features(**flags: Any) -> None:
    """Render annotated latents and write their per-pixel features to a Zarr store."""
    echo_lines(runs.extract_features(note, **flags).lines)


@click.command(
    TRAIN,
    cls=Command,
    short_help="Train the ensemble of pixel classifiers on a store.",
    examples=("dgan train --store features.zarr", "dgan train --members 5 --out small --memory-budget 4GB"),
)
@command_options(TRAIN)
def train(**flags: Any) -> None:
    """Train the ensemble of pixel classifiers on a feature store."""
    echo_lines(runs.train(note, click.echo, **flags).lines)


@click.command(
    SYNTHESIZE,
    cls=Command,
    short_help="Make labelled images, and filter the uncertain ones.",
    examples=(
        "dgan synthesize --checkpoint network.pkl --num 10000 --keep 0.9",
        "dgan synthesize --interpreter released --checkpoint g.pt --config face_34.json",
    ),
)
@command_options(SYNTHESIZE)
def synthesize(**flags: Any) -> None:
    """Generate labelled images, score each by the members' divergence, and filter the most uncertain."""
    echo_lines(runs.synthesize(note, **flags).lines)
