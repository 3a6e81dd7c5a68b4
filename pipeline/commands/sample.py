"""``dgan sample``: the command that begins a project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.commands.errors import report_errors
from pipeline.commands.options import (
    CONFIG,
    DEBUG,
    DEVICE,
    DRY_RUN,
    THREADS,
    echo_lines,
    load_run_config,
    rendering_options,
    take,
    target_device,
)


@click.command("sample")
@click.option(
    "--num", type=click.IntRange(1, 10**6), default=40, show_default=True, help="Images to annotate."
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("annotate"), show_default=True, help="Folder."
)
@click.option("--diverse", is_flag=True, help="Take the most spread in W of a larger pool.")
@click.option(
    "--uncertain",
    type=click.Path(path_type=Path),
    metavar="INTERPRETER",
    help="Take those of the pool that this interpreter is least sure of.",
)
@click.option("--pool", type=click.IntRange(1, 10**5), help="Latents to choose from.  [default: 20 x num]")
@click.option("--add", is_flag=True, help="Add --num images to those that --out holds.")
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of the latents."
)
@click.option("--task", help="What will be annotated: segmentation or keypoints.  [default: segmentation]")
@rendering_options
@CONFIG
@DEVICE
@THREADS
@click.option("--overwrite", is_flag=True, help="Replace the images of --out; annotations are never touched.")
@DRY_RUN
@DEBUG
@report_errors
def sample(
    config_file: Path | None,
    device: str,
    threads: int | None,
    dry_run: bool,
    uncertain: Path | None,
    task: str | None,
    **flags: Any,
) -> None:
    """Start a project: images to annotate, and a dgan.toml that makes extract-features the next command."""
    from pipeline.settings.files import with_overrides

    options = take(flags, ("num", "out", "seed", "diverse", "pool", "add", "overwrite"))
    if options["add"] and config_file is None and (options["out"] / "dgan.toml").exists():
        config_file = options["out"] / "dgan.toml"
    config = load_run_config(config_file, flags["checkpoint"])

    from pipeline.stages.sample import stage

    if uncertain is not None:
        config = with_overrides(config, "synthesize", interpreter=uncertain)
        if not options["add"]:  # a project goes on with its own settings
            config = stage.as_trained(config)
    config = with_overrides(config, "annotations", task=task)
    features = take(flags, ("resolution", "crop_rows", "render_batch"))
    config = with_overrides(with_overrides(config, "features", **features), "generator", **flags)
    target = target_device(device, threads)
    job = stage.prepare(config, stage.SampleOptions(**options, uncertain=uncertain is not None))
    if dry_run:
        echo_lines(stage.dry_run(job, target))
        return
    click.echo(stage.sample(job, target))
