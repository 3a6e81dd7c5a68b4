"""The commands that show and judge: report, view, evaluate, calibrate."""

from __future__ import annotations

from typing import Any

import click

from pipeline.api import runs
from pipeline.commands import interruption
from pipeline.commands.options import command_options, echo_lines, note
from pipeline.commands.program import Command
from pipeline.settings.options import REPORT, VIEW
from pipeline.settings.schema import CALIBRATE, EVALUATE


@click.command(
    REPORT,
    cls=Command,
    short_help="Write an HTML page that shows a store.",
    examples=("dgan report dataset.zarr", "dgan report features.zarr --out annotations.html"),
)
@command_options(REPORT)
def report(**flags: Any) -> None:
    """Write one HTML file that shows a dataset, the annotations of a feature store, or an interpreter."""
    echo_lines(runs.report(note, **flags).lines)


@click.command(
    VIEW,
    cls=Command,
    short_help="Browse all images of a store.",
    examples=("dgan view dataset.zarr", "dgan view features.zarr --port 8080 --no-browser"),
)
@command_options(VIEW)
def view(**flags: Any) -> None:
    """Show all images of a dataset or a feature store in the browser of this machine, until Ctrl-C."""
    interruption.State.line = interruption.STOPPED
    echo_lines(runs.view(click.echo, **flags).lines)


@click.command(
    EVALUATE,
    cls=Command,
    short_help="Measure an interpreter against true labels.",
    examples=(
        "dgan evaluate interpreter --store held_out.zarr",
        "dgan evaluate interpreter --store dataset.zarr --annotations truth/",
    ),
)
@command_options(EVALUATE)
def evaluate(**flags: Any) -> None:
    """Compare an interpreter's labels with true ones: IoU, boundary IoU, accuracy, calibration error; PCK."""
    echo_lines(runs.evaluate(note, **flags).lines)


@click.command(
    CALIBRATE,
    cls=Command,
    short_help="Find out what share of images to keep.",
    examples=("dgan calibrate --store features.zarr", "dgan calibrate --folds 4 --out calibration.json"),
)
@command_options(CALIBRATE)
def calibrate(**flags: Any) -> None:
    """Train on parts of the annotated images, label the others, and compare error with uncertainty."""
    echo_lines(runs.calibrate(note, **flags).lines)
