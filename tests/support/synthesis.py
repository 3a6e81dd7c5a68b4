"""A trained interpreter at toy size, and how tests label with it."""

from __future__ import annotations

from pathlib import Path

import torch
from click.testing import Result
from support.commands import dgan
from support.tiny import input_flags, write_inputs

from pipeline.settings.files import Config, with_overrides
from pipeline.stages.synthesize import stage
from pipeline.stages.synthesize.job import SynthesizeJob

CPU = torch.device("cpu")


def train_in(folder: Path) -> Path:
    """Write a checkpoint into ``in/`` of the folder and an interpreter that was trained on it; returns it."""
    write_inputs(folder / "in")
    store = str(folder / "features.zarr")
    run("extract-features", *input_flags(folder / "in"), "--store", store)
    train = ["--members", "3", "--steps", "20", "--batch-size", "16", "--out", str(folder / "interpreter")]
    run("train", "--store", store, *train)
    return folder


def run(*words: str, code: int = 0) -> Result:
    result = dgan(*words)
    assert result.exit_code == code, result.output
    return result


def synthesize(inputs: Path, store: Path, *more: str, code: int = 0) -> Result:
    flags = [
        "--checkpoint",
        str(inputs / "in" / "checkpoint.pt"),
        "--interpreter",
        str(inputs / "interpreter"),
    ]
    return run("synthesize", *flags, "--store", str(store), "--num", "6", *more, code=code)


def make_job(inputs: Path, store: Path | None = None, **settings: object) -> SynthesizeJob:
    config = with_overrides(Config(), "generator", checkpoint=inputs / "in" / "checkpoint.pt")
    store = store or inputs / "none.zarr"
    config = with_overrides(
        config, "synthesize", interpreter=inputs / "interpreter", store=str(store), **settings
    )
    return stage.prepare(config)
