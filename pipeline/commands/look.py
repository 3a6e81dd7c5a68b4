"""The commands that look at a file, a store or an interpreter, check it, or change a dataset's filter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.api import runs
from pipeline.api.places import check_store
from pipeline.commands.options import (
    DEBUG,
    argument,
    command_options,
    echo_lines,
    echo_wrapped,
    note,
    setting_options,
)
from pipeline.commands.program import Command
from pipeline.errors import RunError, count
from pipeline.settings.schema import FILTER, INSPECT
from pipeline.settings.values import PATH, STORE

STORE_OR_INTERPRETER = "A store, as a folder or a URL; or the folder of an interpreter."


@click.command(
    FILTER,
    cls=Command,
    short_help="Change which images of a dataset are kept.",
    examples=("dgan filter dataset.zarr --keep 0.8", "dgan filter dataset.zarr --keep auto --keep-per-class"),
)
@command_options(FILTER)
def filter_dataset(**flags: Any) -> None:
    """Change which images of a dataset are kept; nothing is rendered again."""
    echo_lines(runs.filter_dataset(note, **flags).lines)


@click.command(
    "info",
    cls=Command,
    short_help="Show what a store or an interpreter holds.",
    examples=("dgan info dataset.zarr", "dgan info interpreter"),
)
@argument("store", STORE, STORE_OR_INTERPRETER)
@DEBUG
def info(store: str) -> None:
    """Show what a store or an interpreter holds: classes, sizes, how it was made, how far it is."""
    check_store(store)
    if folder := _maybe_interpreter(store):
        from pipeline.interpreter.summary import is_interpreter, summary_lines

        if is_interpreter(folder):
            echo_wrapped(summary_lines(folder))
            return
    import fstore

    echo_wrapped(repr(fstore.open(store)).splitlines())


@click.command(
    "verify",
    cls=Command,
    short_help="Check a store or an interpreter for damage.",
    examples=("dgan verify dataset.zarr", "dgan verify interpreter"),
)
@argument("store", STORE, STORE_OR_INTERPRETER)
@DEBUG
def verify(store: str) -> None:
    """Read all of a store's committed images, or of an interpreter, and check them; exit code 1 if anything
    is wrong.
    """
    check_store(store)
    if folder := _maybe_interpreter(store):
        from pipeline.interpreter.summary import is_interpreter, verify_line

        if is_interpreter(folder):
            click.echo(verify_line(folder))
            return
    import fstore
    from fstore.display import human_bytes
    from pipeline.machine.progress import progress

    with progress("verifying", len(fstore.open(store)), "images") as bar:
        report = fstore.verify_store(store, bar.advance)
    for line in report.problems:
        click.echo(line, err=True)
    if not report.ok:
        raise RunError(
            f"{store}: {count(len(report.problems), 'problem')} in "
            f"{count(report.checked, 'committed image')}; `dgan repair {store}` has damaged images made "
            "again, else restore or rewrite the store"
        )
    click.echo(
        f"{store}: {report.checked:,} of {count(report.num_images, 'image')} committed, all whole "
        f"({human_bytes(report.bytes_read)} read)"
    )


def _maybe_interpreter(store: str) -> Path | None:
    """The folder, also of a ``file://`` URL, where it is worth loading torch to look: it is no Zarr store."""
    from fstore.location import Location

    folder = Location.parse(store).folder
    if folder is None or not folder.is_dir() or (folder / "zarr.json").exists():
        return None
    return folder


@click.command(
    INSPECT,
    cls=Command,
    short_help="Show what a generator's file is.",
    examples=("dgan inspect-checkpoint network.pkl", "dgan inspect-checkpoint stylegan2.pt"),
)
@argument("file", PATH, "The generator's file.")
@setting_options(INSPECT)
@DEBUG
def inspect_checkpoint(file: Path, generator__key: str | None) -> None:
    """Show what a generator's file is: format, sizes, average latent, and its feature layers."""
    from pipeline.checkpoints.read import read_generator
    from pipeline.checkpoints.summary import summary_lines

    echo_lines(summary_lines(read_generator(file, generator__key)))
