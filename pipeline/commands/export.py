"""``dgan export``: the command that carries a store to other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.commands.options import (
    CONFIG,
    DEBUG,
    DRY_RUN,
    argument,
    check_folder,
    check_store,
    configured,
    echo_lines,
    load_run_config,
    note,
    option,
    setting_options,
    switch,
)
from pipeline.commands.program import Command
from pipeline.settings.schema import EXPORT
from pipeline.settings.values import PATH, STORE, THREADS


@click.command(
    EXPORT,
    cls=Command,
    examples=(
        "dgan export dataset.zarr out --format coco --split train=0.9,val=0.1",
        "dgan export features.zarr annotated --format png",
    ),
)
@argument("store", STORE)
@argument("out", PATH)
@setting_options(EXPORT)
@option("--threads", THREADS, "Parts written at once.  [default: one a processor core]")
@CONFIG
@switch("--overwrite", "Delete the export that is there and start anew.")
@DRY_RUN
@DEBUG
def export(
    store: str,
    out: Path,
    config: Path | None,
    threads: int | None,
    overwrite: bool,
    dry_run: bool,
    **flags: Any,
) -> None:
    """Write images and labels of a dataset, or the annotated images of a feature store, as files that other
    tools read.
    """
    settings = configured(load_run_config(config, store, tell_defaults=False), flags)
    check_store(store)
    check_folder(out)

    from pipeline.export import job as jobs
    from pipeline.export import run

    job = jobs.prepare(store, out, settings.export)
    if dry_run:
        echo_lines(run.dry_run(job, overwrite=overwrite))
        return
    click.echo(run.export(job, overwrite=overwrite, threads=threads, say=note))
