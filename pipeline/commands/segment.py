"""The commands ``dgan segment train``, ``test`` and ``predict``."""

from __future__ import annotations

from typing import Any

import click

from pipeline.api import runs
from pipeline.commands.options import command_options, echo_lines, note
from pipeline.commands.program import Command, Commands
from pipeline.settings.schema import SEGMENT_PREDICT, SEGMENT_TEST, SEGMENT_TRAIN


@click.group(
    "segment",
    cls=Commands,
    short_help="Train a segmenter on a dataset, test it, use it.",
    examples=("dgan segment train --data dataset.zarr", "dgan segment test segmenter --images photos"),
)
def segment() -> None:
    """Train a DeepLabV3 on a dataset, test it on annotated photographs, label photographs with it."""


@segment.command(
    "train",
    cls=Command,
    short_help="Train a segmenter on a dataset.",
    examples=(
        "dgan segment train --data dataset.zarr",
        "dgan segment train --backbone resnet50 --epochs 10 --out small",
    ),
)
@command_options(SEGMENT_TRAIN)
def segment_train(**flags: Any) -> None:
    """Train a segmentation network on a dataset's images and labels."""
    echo_lines(runs.segment_train(note, **flags).lines)


@segment.command(
    "test",
    cls=Command,
    short_help="Measure a segmenter on annotated photographs.",
    examples=(
        "dgan segment test segmenter --images photos --annotations masks",
        "dgan segment test segmenter --config face_34.json",
    ),
)
@command_options(SEGMENT_TEST)
def segment_test(**flags: Any) -> None:
    """Compare a segmenter's labels with annotations: IoU by class, cross-validated over the epochs."""
    echo_lines(runs.segment_test(note, **flags).lines)


@segment.command(
    "predict",
    cls=Command,
    short_help="Label photographs with a segmenter.",
    examples=(
        "dgan segment predict segmenter --images photos --out labels",
        "dgan segment predict segmenter --images photos --out labels --epoch 7",
    ),
)
@command_options(SEGMENT_PREDICT)
def segment_predict(**flags: Any) -> None:
    """Write the labels that a segmenter gives to photographs, as PNGs of the photographs' size."""
    echo_lines(runs.segment_predict(note, **flags).lines)
