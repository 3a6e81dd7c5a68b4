"""The command line ``dgan``: parses, builds a configuration, calls a stage, and turns every error into one
line.

Heavy imports stay inside the commands, so that ``dgan --help`` answers at once. Exit codes: 0 done, 1 a run
that failed, 2 wrong use or bad input, 130 interrupted.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fstore._version import __version__
from pipeline.errors import RunError, UsageError

if TYPE_CHECKING:
    import torch

    from pipeline.settings import Config

# Before torch is imported: with OpenMP's default, threads that wait for one another burn the cores that the
# sampler's and the writer's threads need; on a machine with other work 300 training steps took 43 s so, and
# 3.4 s with this.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# But not asleep at once: a training step is some 200 short operators, and waking a thread for each took 10%.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")

# Also before torch is imported: large tensors in huge pages. Extracting two dense images of a 1024 px
# generator took 11 s so, and 15 s with pages of 4 kB (docs/performance.md).
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

Function = TypeVar("Function", bound=Callable[..., Any])


def report_errors(command: Function) -> Function:
    """Run a command so that it ends in one clear line and the right exit code, with a traceback only under
    ``--debug``.
    """

    @functools.wraps(command)
    def wrapped(*args: Any, debug: bool, **kwargs: Any) -> None:
        debug = debug or bool(click.get_current_context().find_root().params.get("debug"))
        try:
            command(*args, **kwargs)
        except click.ClickException:
            raise
        except KeyboardInterrupt:
            click.echo(
                "interrupted; a stage goes on from what it finished when the same command is run again",
                err=True,
            )
            sys.exit(130)
        except Exception as error:
            if debug:
                raise
            code, line = explain(error)
            click.echo(f"Error: {line}", err=True)
            sys.exit(code)

    return wrapped  # type: ignore[return-value]


def explain(error: Exception) -> tuple[int, str]:
    """Exit code and one line for an error."""
    import errno

    from fstore.errors import CorruptionError, OverflowError16, StoreError

    line = " ".join(str(error).split())
    if isinstance(error, (RunError, CorruptionError, OverflowError16)):
        return 1, line
    if isinstance(error, (UsageError, StoreError)):
        return 2, line
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            1,
            f"the disk is full ({error.filename or 'while writing'}); make room, then the same command goes "
            "on from where it was",
        )
    if isinstance(error, OSError) and error.strerror:
        return 1, f"{error.filename or type(error).__name__}: {error.strerror}"
    if isinstance(error, MemoryError) or "out of memory" in line.lower():
        return (
            1,
            f"out of memory ({line or 'host'}); use a smaller --render-batch, --tile or --batch-size, or "
            "--device cpu",
        )
    return (
        1,
        f"unexpected {type(error).__name__}: {line}; run again with --debug for the traceback, and report it",
    )


BUILT_IN = "built-in defaults"
DEBUG = click.option("--debug", is_flag=True, help="Show the traceback of an error.")
CONFIG = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="TOML file; default ./dgan.toml, else the embedded demo configuration.",
)
OVERWRITE = click.option("--overwrite", is_flag=True, help="Delete what is there and start anew.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Print the plan and what it costs, and do nothing.")
DEVICE = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:i.")
THREADS = click.option("--threads", type=click.IntRange(min=1), help="CPU threads of torch.")


class ByteSize(click.ParamType):
    """A number of bytes, written as ``4GB`` or ``512MiB``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from pipeline.sizes import parse_bytes

        if isinstance(value, int):
            return value
        try:
            return parse_bytes(value, param.opts[0] if param else "the size")
        except UsageError as error:
            raise click.UsageError(str(error), ctx) from None


BYTES = ByteSize()
MEMORY_BUDGET = click.option(
    "--memory-budget",
    type=BYTES,
    metavar="SIZE",
    help="Most host memory of the process, as 8GB; buffers follow from it.",
)


def stage_options(command: Function) -> Function:
    """The options that every stage has."""
    for option in (DEBUG, DRY_RUN, OVERWRITE, MEMORY_BUDGET, THREADS, DEVICE, CONFIG):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="dgan")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """DatasetGAN on an out-of-core feature store.

    Three stages: extract-features writes the per-pixel features of annotated images to disk, train fits an
    ensemble of classifiers on them, synthesize makes labelled images and filters the most uncertain.
    """


@main.command("extract-features")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Generator: StyleGAN1 *.for_g_all.pt.")
@click.option(
    "--latents", type=click.Path(path_type=Path), help="(N, D) of Z or W, or (N, L, D) of W+, .npy."
)
@click.option("--latent-space", help="z, w or w+; default by the shape: Z, or W+ of three axes.")
@click.option(
    "--average-latent", type=click.Path(path_type=Path), help=".npy; default: the mean of 8,000 samples."
)
@click.option(
    "--annotations",
    type=click.Path(path_type=Path),
    help="Folder of image_mask{i}.npy, {i}.png or image_mask{i}.png.",
)
@click.option("--num-classes", type=int, help="Default: the largest label and 1.")
@click.option("--ignore", type=int, help="Label of pixels that count nowhere.")
@click.option("--min-pixels", type=int, help="Smaller classes of an image are dropped there.  [default: 30]")
@click.option("--small-classes", help="Where they go: background or ignore.  [default: background]")
@click.option(
    "--resolution", type=int, help="Side of the feature grid.  [default: the generator's, at most 512]"
)
@click.option("--crop-rows", metavar="A:B", help="Keep rows A to B - 1 of the grid, as 64:448 for cars.")
@click.option("--truncation", type=float, help="Psi.  [default: 0.7]")
@click.option("--truncation-layers", type=int, help="W+ rows it acts on.  [default: 8, but 7 at 256 px]")
@click.option("--noise", help="const, zero or random.  [default: const]")
@click.option("--noise-seed", type=int, help="[default: 0]")
@click.option("--layout", help="dense or pyramid (32x smaller).  [default: dense]")
@click.option("--render-batch", type=int, help="Images a forward pass.  [default: 1]")
@click.option("--store", help="[default: features.zarr]")
@stage_options
@report_errors
def extract_features(
    config_file: Path | None,
    device: str,
    threads: int | None,
    memory_budget: int | None,
    overwrite: bool,
    dry_run: bool,
    **flags: Any,
) -> None:
    """Render annotated latents and write their per-pixel features to a Zarr store."""
    from pipeline.config import with_overrides

    config = _load_config(config_file, flags["checkpoint"])
    generator = ("checkpoint", "average_latent", "truncation", "truncation_layers", "noise", "noise_seed")
    config = with_overrides(config, "generator", **_take(flags, generator))
    config = with_overrides(config, "latents", file=flags.pop("latents"), space=flags.pop("latent_space"))
    folder = {"folder": flags.pop("annotations")}
    annotations = ("num_classes", "ignore", "min_pixels", "small_classes")
    config = with_overrides(config, "annotations", **folder, **_take(flags, annotations))
    config = with_overrides(config, "features", **flags)
    target = _device(device, threads)

    from pipeline.stages import extract

    job = extract.prepare(config)
    if dry_run:
        _echo_lines(extract.plan_lines(job, target, memory_budget))
        return
    line = extract.extract(job, target, overwrite=overwrite, memory_budget=memory_budget, say=_note)
    click.echo(line)


@main.command("train")
@click.option("--store", help="Feature store.  [default: features.zarr]")
@click.option("--members", type=int, help="Classifiers in the ensemble.  [default: 10]")
@click.option("--steps", type=int, help="Optimisation steps; default: until validation stops improving.")
@click.option("--batch-size", type=int, help="Pixels a member and step.  [default: 64]")
@click.option(
    "--balance",
    type=float,
    metavar="ALPHA",
    help="Class mix frequency^ALPHA: 1 natural, 0 balanced.  [default: 1]",
)
@click.option("--seed", type=int, help="[default: 0]")
@click.option("--precision", help="Of the large products: auto, float32 or bfloat16.  [default: auto]")
@click.option(
    "--cache",
    metavar="SIZE",
    help="Hold a pyramid store in memory if it fits SIZE; none: not.  [default: auto]",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder.  [default: interpreter]")
@stage_options
@report_errors
def train(
    config_file: Path | None,
    device: str,
    threads: int | None,
    memory_budget: int | None,
    overwrite: bool,
    dry_run: bool,
    **flags: Any,
) -> None:
    """Train the ensemble of pixel classifiers on a feature store."""
    from pipeline.config import with_overrides

    store = flags.pop("store")
    config = with_overrides(_load_config(config_file, None), "train", **flags)
    config = with_overrides(config, "features", store=store)
    target = _device(device, threads)

    from pipeline.stages import train as stage

    if dry_run:
        lines = stage.dry_run(config.features.store, config.train, device=target, memory_budget=memory_budget)
        _echo_lines(lines)
        return
    stage.train(
        config.features.store,
        config.train,
        device=target,
        overwrite=overwrite,
        memory_budget=memory_budget,
        report=click.echo,
    )


@main.command("synthesize")
@click.option(
    "--interpreter", type=click.Path(path_type=Path), help="Folder that train wrote.  [default: interpreter]"
)
@click.option(
    "--checkpoint", type=click.Path(path_type=Path), help="The generator that the interpreter was trained on."
)
@click.option("--num", type=int, help="Images in all; a larger number continues a dataset.  [default: 1000]")
@click.option("--keep", help="Fraction of least uncertain images to keep.  [default: 0.9]")
@click.option("--seed", type=int, help="[default: 0]")
@click.option("--score", help="An image's uncertainty: top10, mean or sum.  [default: top10]")
@click.option("--render-batch", type=int, help="Images a forward pass; divides 64.  [default: 2]")
@click.option("--precision", help="Of the labelling: auto, float32 or bfloat16.  [default: auto]")
@click.option("--tile", type=int, help="Grid rows labelled at once, a multiple of 8.  [default: by memory]")
@click.option("--store", help="[default: dataset.zarr]")
@click.option(
    "--force", is_flag=True, help="Label with another checkpoint than the interpreter was trained on."
)
@stage_options
@report_errors
def synthesize(
    config_file: Path | None,
    device: str,
    threads: int | None,
    memory_budget: int | None,
    overwrite: bool,
    dry_run: bool,
    force: bool,
    **flags: Any,
) -> None:
    """Generate labelled images, score each by the members' divergence, and filter the most uncertain."""
    from pipeline.config import with_overrides

    config = _load_config(config_file, flags["checkpoint"])
    config = with_overrides(config, "generator", checkpoint=flags.pop("checkpoint"))
    config = with_overrides(config, "synthesize", **flags)
    target = _device(device, threads)

    from pipeline.stages import synthesize as stage

    job = stage.prepare(config, force=force)
    if dry_run:
        _echo_lines(stage.plan_lines(job, target, memory_budget, overwrite=overwrite))
        return
    line = stage.synthesize(job, target, overwrite=overwrite, memory_budget=memory_budget, say=_note)
    click.echo(line)


@main.command("filter")
@click.argument("store")
@click.option("--keep", required=True, help="Fraction of least uncertain images to keep.")
@DEBUG
@report_errors
def filter_dataset(store: str, keep: str) -> None:
    """Change which images of a dataset are kept; nothing is rendered again."""
    from pipeline.config import Config, with_overrides

    keep = with_overrides(Config(source="the command line"), "synthesize", keep=keep).synthesize.keep

    from pipeline.stages.synthesize import set_filter

    click.echo(set_filter(store, keep))


@main.command("info")
@click.argument("store")
@DEBUG
@report_errors
def info(store: str) -> None:
    """Show what a store holds: classes, shapes, bytes, how many images are committed."""
    import fstore

    click.echo(repr(fstore.open(store)))


@main.command("verify")
@click.argument("store")
@DEBUG
@report_errors
def verify(store: str) -> None:
    """Read every committed image of a store and check it against the format; exit code 1 if anything is
    wrong.
    """
    import fstore
    from fstore.display import human_bytes
    from pipeline.progress import progress

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


@main.command("demo")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, help="Folder."
)
@click.option(
    "--num",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="Fresh images to label and to test on.",
)
@DEVICE
@THREADS
@DEBUG
@report_errors
def demo(out: Path, num: int, device: str, threads: int | None) -> None:
    """Run the three stages on the embedded generator of faces, and compare the labels with the exact
    masks.
    """
    target = _device(device, threads)

    from pipeline.demo.run import run_demo

    run_demo(out, num, target, click.echo)


def _load_config(config_file: Path | None, checkpoint: Path | None) -> Config:
    """The configuration, named as the command starts. A checkpoint on the command line takes the demo out of
    the demo.
    """
    from pipeline.config import DEMO_SOURCE, Config, load_config

    config = load_config(config_file)
    if checkpoint is not None and config.source == DEMO_SOURCE:
        config = Config(source=BUILT_IN)
    is_file = config.source not in (DEMO_SOURCE, BUILT_IN)
    _note(f"using {config.source}" if is_file else f"using the {config.source}")
    return config


def _device(name: str, threads: int | None) -> torch.device:
    from pipeline.device import select_device, set_threads

    set_threads(threads)
    return select_device(name)


def _take(flags: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: flags.pop(name) for name in names}


def _note(line: str) -> None:
    click.echo(line, err=True)


def _echo_lines(lines: list[str]) -> None:
    for line in lines:
        click.echo(line)
