"""``dgan sample``: the command that begins a project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.commands.options import (
    CONFIG,
    DEBUG,
    DEVICE_OPTION,
    DRY_RUN,
    THREADS_OPTION,
    check_folder,
    configured,
    echo_lines,
    load_run_config,
    option,
    setting_options,
    switch,
    target_device,
)
from pipeline.commands.program import Command
from pipeline.settings.files import with_overrides
from pipeline.settings.schema import SAMPLE
from pipeline.settings.values import ANY_SEED, PATH, integer


@click.command(
    SAMPLE,
    cls=Command,
    examples=(
        "dgan sample --checkpoint network.pkl --num 40 --diverse --out annotate",
        "dgan sample --uncertain interpreter --num 16 --add --out .",
    ),
)
@option("--num", integer(1, 10**6), "Images to annotate.", default=40, group="Images")
@option("--out", PATH, "Folder.", default="annotate", group="Images")
@switch("--diverse", "Take the most spread in W of a larger pool.", group="Images")
@option("--uncertain", PATH, "Take those of the pool that this interpreter is least sure of.", group="Images")
@option("--pool", integer(1, 10**5), "Latents to choose from.  [default: 20 x num]", group="Images")
@switch("--add", "Add --num images to those that --out holds.", group="Images")
@option("--seed", ANY_SEED, "Of the latents.", default=0, group="Images")
@setting_options(SAMPLE, headings={"annotations": "Images", "features": "Images"})
@CONFIG
@DEVICE_OPTION
@THREADS_OPTION
@switch("--overwrite", "Replace the images of --out; annotations are never touched.")
@DRY_RUN
@DEBUG
def sample(
    config: Path | None,
    device: str,
    threads: int | None,
    dry_run: bool,
    uncertain: Path | None,
    num: int,
    out: Path,
    seed: int,
    diverse: bool,
    pool: int | None,
    add: bool,
    overwrite: bool,
    **flags: Any,
) -> None:
    """Start a project: images to annotate, and a dgan.toml that makes extract-features the next command."""
    check_folder(out)
    if add and config is None and (out / "dgan.toml").exists():
        config = out / "dgan.toml"
    settings = load_run_config(config, flags["generator__checkpoint"], with_notes=True)

    from pipeline.stages.sample import stage

    if uncertain is not None:
        settings = with_overrides(settings, "synthesize", interpreter=uncertain)
        if not add:  # a project goes on with its own settings
            settings = stage.as_trained(settings)
    settings = configured(settings, flags)
    target = target_device(device, threads)
    options = stage.SampleOptions(num, out, seed, diverse, uncertain is not None, pool, add, overwrite)
    job = stage.prepare(settings, options)
    if dry_run:
        echo_lines(stage.dry_run(job, target))
        return
    click.echo(stage.sample(job, target))
