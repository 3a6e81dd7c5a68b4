"""Commands that look at a file or a store, check it, or change a dataset's filter."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.commands.errors import report_errors
from pipeline.commands.options import DEBUG, KEY, echo_lines
from pipeline.errors import RunError


@click.command("filter")
@click.argument("store")
@click.option("--keep", required=True, help="Fraction of least uncertain images to keep.")
@DEBUG
@report_errors
def filter_dataset(store: str, keep: str) -> None:
    """Change which images of a dataset are kept; nothing is rendered again."""
    from pipeline.settings.files import Config, with_overrides

    keep = with_overrides(Config(source="the command line"), "synthesize", keep=keep).synthesize.keep

    from pipeline.stages.synthesize.stage import set_filter

    click.echo(set_filter(store, keep))


@click.command("info")
@click.argument("store")
@DEBUG
@report_errors
def info(store: str) -> None:
    """Show what a store holds: classes, shapes, bytes, how many images are committed."""
    import fstore

    click.echo(repr(fstore.open(store)))


@click.command("verify")
@click.argument("store")
@DEBUG
@report_errors
def verify(store: str) -> None:
    """Read every committed image of a store and check it against the format; exit code 1 if anything is
    wrong.
    """
    import fstore
    from fstore.display import human_bytes
    from pipeline.machine.progress import progress

    with progress("verifying", len(fstore.open(store)), "images") as bar:
        report = fstore.verify_store(store, bar.advance)
    for line in report.problems:
        click.echo(line, err=True)
    if not report.ok:
        raise RunError(
            f"{store}: {len(report.problems)} problems in {report.checked} committed images; restore or "
            "rewrite the store"
        )
    click.echo(
        f"{store}: {report.checked} of {report.num_images} images committed, all whole "
        f"({human_bytes(report.bytes_read)} read)"
    )


@click.command("inspect-checkpoint")
@click.argument("file", type=click.Path(path_type=Path))
@KEY
@DEBUG
@report_errors
def inspect_checkpoint(file: Path, key: str | None) -> None:
    """Show what a generator's file is: format, sizes, average latent, and its feature layers."""
    from pipeline.checkpoints.read import read_generator
    from pipeline.checkpoints.summary import summary_lines

    echo_lines(summary_lines(read_generator(file, key)))
