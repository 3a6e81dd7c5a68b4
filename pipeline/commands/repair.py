"""``dgan repair``: take back the commitment of damaged images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

import click

from pipeline.api.places import check_store
from pipeline.commands.options import DEBUG, argument, declared, echo_lines
from pipeline.commands.program import Command
from pipeline.errors import count
from pipeline.settings.options import DRY_RUN
from pipeline.settings.values import STORE

if TYPE_CHECKING:
    from fstore.repair import Repair


@click.command(
    "repair",
    cls=Command,
    short_help="Have damaged images of a store made again.",
    examples=("dgan repair dataset.zarr --dry-run", "dgan repair features.zarr"),
)
@argument("store", STORE, "A store, as a folder or a URL.")
@declared(replace(DRY_RUN, help="Say which images are damaged, and change nothing."))
@DEBUG
def repair(store: str, dry_run: bool) -> None:
    """Check a store as `dgan verify` does, and mark its damaged images as not written: the command that wrote
    the store, run again, makes just those anew.
    """
    check_store(store)
    import fstore
    from pipeline.machine.progress import progress

    with progress("checking", len(fstore.open(store)), "images") as bar:
        found = fstore.repair_store(store, dry_run=dry_run, advance=bar.advance)
    echo_lines(repair_lines(store, found, dry_run=dry_run))


def repair_lines(store: str, found: Repair, *, dry_run: bool) -> list[str]:
    """What was done, or would be, and what to do next."""
    report, images = found.report, found.images
    checked = f"{count(report.checked, 'committed image')} checked"
    if found.is_nothing:
        return [f"{store}: {checked}, nothing to repair"]
    said = []
    if images:
        numbers = f"{'image' if len(images) == 1 else 'images'} {ranges(images)}"
        are = "would no longer be" if dry_run else "is no longer" if len(images) == 1 else "are no longer"
        more = len(images) - len(report.of_images)
        with_tasks = f", {len(report.of_images)} of them damaged" if more else ""
        said.append(f"{store}: {checked}; {numbers} {are} committed{with_tasks}")
    if found.unsets_filter:
        said.append(f"{store}: its filter (keep {found.keep}) {'would be' if dry_run else 'is'} unset")
    if found.markers:
        deleted = "would be" if dry_run else "are"
        said.append(f"{store}: markers of images that it does not have {deleted} deleted")
    if not images and not found.unsets_filter:
        return said
    again = f"run the same `{found.maker}` again" + (", which makes these images anew" if images else "")
    filtered = ", and `dgan filter` if that has set the filter" if found.unsets_filter else ""
    return [*said, f"next: {again}{filtered}"]


def ranges(numbers: Iterable[int]) -> str:
    """Ascending numbers as text: ``3, 5 to 9``."""
    parts = []
    for _, group in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        parts.append(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}")
    return ", ".join(parts)
