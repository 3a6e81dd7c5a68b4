"""The commands of the three stages: each parses, builds a configuration and calls its stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.commands.options import (
    check_folder,
    check_store,
    configured,
    echo_lines,
    load_run_config,
    note,
    setting_options,
    stage_options,
    switch,
    target_device,
    task_option,
)
from pipeline.commands.program import Command
from pipeline.settings.schema import EXTRACT, SYNTHESIZE, TRAIN


@click.command(
    EXTRACT,
    cls=Command,
    examples=(
        "dgan extract-features --checkpoint g.pkl --latents z.npy --annotations masks/",
        "dgan extract-features --config face_34.toml --dry-run",
    ),
)
@setting_options(EXTRACT)
@stage_options
def extract_features(
    config: Path | None,
    device: str,
    threads: int | None,
    memory_budget: int | None,
    overwrite: bool,
    dry_run: bool,
    **flags: Any,
) -> None:
    """Render annotated latents and write their per-pixel features to a Zarr store."""
    settings = load_run_config(config, flags["generator__checkpoint"], with_notes=True)
    settings = configured(settings, flags)
    check_store(settings.features.store)
    target = target_device(device, threads)

    from pipeline.stages.extract import stage

    job = stage.prepare(settings, overwrite=overwrite)
    if dry_run:
        echo_lines(stage.dry_run(job, target, overwrite=overwrite, memory_budget=memory_budget))
        return
    line = stage.extract(job, target, overwrite=overwrite, memory_budget=memory_budget, say=note)
    click.echo(line)


@click.command(
    TRAIN,
    cls=Command,
    examples=("dgan train --store features.zarr", "dgan train --members 5 --out small --memory-budget 4GB"),
)
@setting_options(TRAIN, headings={"features": "Input"})
@task_option("a store")
@stage_options
def train(
    config: Path | None,
    device: str,
    threads: int | None,
    memory_budget: int | None,
    overwrite: bool,
    dry_run: bool,
    task: str | None,
    **flags: Any,
) -> None:
    """Train the ensemble of pixel classifiers on a feature store."""
    settings = configured(load_run_config(config, flags["features__store"]), flags)
    check_store(settings.features.store)
    check_folder(settings.train.out)
    target = target_device(device, threads)

    from pipeline.stages.train import stage

    store, options = settings.features.store, settings.train
    if dry_run:
        lines = stage.dry_run(
            store,
            options,
            device=target,
            overwrite=overwrite,
            memory_budget=memory_budget,
            task=task,
        )
        echo_lines(lines)
        return
    stage.train(
        store,
        options,
        device=target,
        overwrite=overwrite,
        memory_budget=memory_budget,
        task=task,
        report=click.echo,
    )


@click.command(
    SYNTHESIZE,
    cls=Command,
    examples=(
        "dgan synthesize --checkpoint network.pkl --num 10000 --keep 0.9",
        "dgan synthesize --interpreter released --checkpoint g.pt --config face_34.json",
    ),
)
@setting_options(SYNTHESIZE)
@task_option("an interpreter")
@switch("--force", "Label with another checkpoint than the interpreter was trained on.")
@stage_options
def synthesize(
    config: Path | None,
    device: str,
    threads: int | None,
    memory_budget: int | None,
    overwrite: bool,
    dry_run: bool,
    force: bool,
    task: str | None,
    **flags: Any,
) -> None:
    """Generate labelled images, score each by the members' divergence, and filter the most uncertain."""
    settings = configured(load_run_config(config, flags["generator__checkpoint"]), flags)
    check_store(settings.synthesize.store)
    target = target_device(device, threads)

    from pipeline.stages.synthesize import stage

    job = stage.prepare(settings, force=force, task=task)
    if dry_run:
        echo_lines(stage.dry_run(job, target, overwrite=overwrite, memory_budget=memory_budget))
        return
    line = stage.synthesize(job, target, overwrite=overwrite, memory_budget=memory_budget, say=note)
    click.echo(line)
