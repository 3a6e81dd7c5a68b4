"""What several commands share: options, and how they load a configuration, choose a device and speak."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.errors import Function
from pipeline.errors import UsageError

if TYPE_CHECKING:
    import torch

    from pipeline.settings.schema import Config

BUILT_IN = "built-in defaults"
PROJECT = Path("annotate/dgan.toml")  # where `dgan sample` writes by default
DEBUG = click.option("--debug", is_flag=True, help="Show the traceback of an error.")
CONFIG = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="TOML file, or a .json experiment of DatasetGAN or EditGAN; default ./dgan.toml, else the embedded "
    "demo configuration.",
)
OVERWRITE = click.option("--overwrite", is_flag=True, help="Delete what is there and start anew.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Print the plan and what it costs, and do nothing.")
DEVICE = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:i.")
THREADS = click.option("--threads", type=click.IntRange(min=1), help="CPU threads of torch.")


class ByteSize(click.ParamType):
    """A number of bytes, written as ``4GB`` or ``512MiB``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from pipeline.settings.sizes import parse_bytes

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


CHECKPOINT = click.option(
    "--checkpoint", type=click.Path(path_type=Path), help="Generator; `dgan inspect-checkpoint` says which."
)
KEY = click.option(
    "--key", help="Which of several generators in the checkpoint.  [default: the averaged one]"
)
CLASS_LABEL = click.option("--class-label", type=int, help="Class of a conditional generator.")
AVERAGE_LATENT = click.option(
    "--average-latent",
    type=click.Path(path_type=Path),
    help=".npy, .npz or .pt; default: the checkpoint's, else the mean of 8,000 samples.",
)
TRUNCATION = click.option("--truncation", type=float, help="Psi.  [default: 0.7]")
TRUNCATION_LAYERS = click.option(
    "--truncation-layers",
    type=int,
    help="W+ rows it acts on.  [default: StyleGAN1 8, but 7 at 256 px; StyleGAN2 all]",
)
NOISE = click.option("--noise", help="const, zero or random.  [default: const]")
NOISE_SEED = click.option("--noise-seed", type=int, help="[default: 0]")
RESOLUTION = click.option(
    "--resolution", type=int, help="Side of the feature grid.  [default: the generator's, at most 512]"
)
CROP_ROWS = click.option(
    "--crop-rows", metavar="A:B", help="Keep rows A to B - 1 of the grid, as 64:448 for cars."
)
RENDER_BATCH = click.option("--render-batch", type=int, help="Images a forward pass.  [default: 1]")


def rendering_options(command: Function) -> Function:
    """What the pictures depend on, beside the latents."""
    options = (RESOLUTION, CROP_ROWS, TRUNCATION, TRUNCATION_LAYERS, NOISE, NOISE_SEED, RENDER_BATCH)
    for option in reversed((CHECKPOINT, KEY, CLASS_LABEL, AVERAGE_LATENT, *options)):
        command = option(command)
    return command


def stage_options(command: Function) -> Function:
    """The options that every stage has."""
    for option in (DEBUG, DRY_RUN, OVERWRITE, MEMORY_BUDGET, THREADS, DEVICE, CONFIG):
        command = option(command)
    return command


def load_run_config(config_file: Path | None, own_input: Path | str | None) -> Config:
    """The configuration, named as the command starts. Input of one's own on the command line, a checkpoint or
    a store, takes the demo out of the demo.
    """
    from pipeline.settings.files import DEMO_SOURCE, Config, load_config

    config = load_config(config_file)
    if own_input is not None and config.source == DEMO_SOURCE:
        config = Config(source=BUILT_IN)
    is_file = config.source not in (DEMO_SOURCE, BUILT_IN)
    note(f"using {config.source}" if is_file else f"using the {config.source}")
    if config.source == DEMO_SOURCE and PROJECT.is_file():
        note(f"{PROJECT} is not used; run in that folder, or pass --config {PROJECT}")
    for line in config.notes:
        note(line)
    return config


def target_device(name: str, threads: int | None) -> torch.device:
    from pipeline.machine.device import select_device, set_threads

    set_threads(threads)
    return select_device(name)


def take(flags: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: flags.pop(name) for name in names}


def note(line: str) -> None:
    click.echo(line, err=True)


def echo_lines(lines: list[str]) -> None:
    for line in lines:
        click.echo(line)
