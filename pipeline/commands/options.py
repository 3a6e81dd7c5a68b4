"""The options of the commands, made from the declarations of the settings, and what several commands share.

A flag of a setting reaches its command as ``section__key``, checked by the rule of the setting. `configured`
lays all such flags over a configuration.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import Field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from pipeline.commands.program import DEBUG_KEY, GroupedOption
from pipeline.errors import UsageError
from pipeline.settings.files import DEMO_SOURCE, load_config, with_overrides
from pipeline.settings.schema import SECTIONS, TASKS, Config, declaration, flag_settings, flags_of
from pipeline.settings.values import BOOLEAN, BYTES, DEVICE, PATH, STORE, THREADS, Rule, choice

if TYPE_CHECKING:
    import torch

Function = TypeVar("Function", bound=Callable[..., Any])

BUILT_IN = "built-in defaults"
PROJECT = Path("annotate/dgan.toml")  # where `dgan sample` writes by default
INDENT = " " * 13  # of the values in what `dgan info` prints
HEADINGS = {
    "generator": "Generator",
    "latents": "Input",
    "annotations": "Input",
    "features": "Features",
    "train": "Training",
    "synthesize": "Dataset",
    "export": "Export",
}


class Checked(click.ParamType):
    """A value as a setting's rule keeps it. The error is the one that the key in a file gets."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.name = rule.metavar.lower()

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        label = param.opts[0] if isinstance(param, click.Option) else str(getattr(param, "name", "")).upper()
        if isinstance(value, str):
            return self.rule.check_text(label, value)
        return self.rule.check(label, value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """What may follow at the Tab key: the choices, or the shell's own paths; of stores only folders."""
        if self.rule.is_path:
            return [CompletionItem(incomplete, type="dir" if self.rule is STORE else "file")]
        return [CompletionItem(word) for word in self.rule.choices if word.startswith(incomplete)]


def option(flag: str, rule: Rule, help: str, *, default: Any = None, group: str = "Run", **more: Any) -> Any:
    """An option that is no setting: its value obeys ``rule``, and its default is shown."""
    shown = help if default is None else f"{help}  [default: {default}]"
    return click.option(
        flag,
        cls=GroupedOption,
        type=Checked(rule),
        default=default,
        metavar=metavar(rule),
        help=shown,
        group=group,
        **more,
    )


def switch(flag: str, help: str, *, group: str = "Run") -> Any:
    """An option without a value."""
    return click.option(flag, cls=GroupedOption, is_flag=True, help=help, group=group)


def argument(name: str, rule: Rule) -> Any:
    """A value that stands without a flag."""
    return click.argument(name, type=Checked(rule), metavar=name.upper())


def metavar(rule: Rule) -> str:
    """What stands for a value in ``--help``: its kind, or the few that there are."""
    return f"[{'|'.join(rule.choices)}]" if rule.choices else rule.metavar


def setting_options(
    command: str, headings: Mapping[str, str] | None = None
) -> Callable[[Function], Function]:
    """The flags of all settings that the command has; ``headings`` name a section's group where it is not
    the usual one.
    """
    groups = {**HEADINGS, **(headings or {})}

    def decorate(function: Function) -> Function:
        for section, item in reversed(list(flag_settings(command))):
            function = _setting_option(section, item, groups[section])(function)
        return function

    return decorate


def _setting_option(section: str, item: Field[Any], group: str) -> Any:
    declared = declaration(item)
    default = _shown_default(item)
    text = f"{declared.help}  [default: {default}]" if default else declared.help
    more: dict[str, Any] = {"cls": GroupedOption, "group": group, "default": None, "help": text}
    if declared.rule is not BOOLEAN:
        more |= {"type": Checked(declared.rule), "metavar": metavar(declared.rule)}
    return click.option(flags_of(item), f"{section}__{item.name}", **more)


def _shown_default(item: Field[Any]) -> str:
    if item.default is None:
        return declaration(item).unset
    if isinstance(item.default, bool):
        yes, _, no = flags_of(item).partition("/")
        return (yes if item.default else no).removeprefix("--")
    return str(item.default)


def configured(config: Config, flags: Mapping[str, Any]) -> Config:
    """``config`` with the flags of settings, named ``section__key``, laid over it."""
    for section in SECTIONS:
        prefix = f"{section}__"
        given = {name.removeprefix(prefix): flags[name] for name in flags if name.startswith(prefix)}
        config = with_overrides(config, section, **given)
    return config


def _remember_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.meta[DEBUG_KEY] = ctx.meta.get(DEBUG_KEY, False) or value


DEBUG = click.option(
    "--debug",
    is_flag=True,
    is_eager=True,  # before a value of another option can be wrong
    expose_value=False,
    callback=_remember_debug,
    help="Show the traceback of an error.",
)
CONFIG = option(
    "--config",
    PATH,
    "TOML file, or a .json experiment of DatasetGAN or EditGAN.  [default: ./dgan.toml, else the demo's]",
)
OVERWRITE = switch("--overwrite", "Delete what is there and start anew.")
DRY_RUN = switch("--dry-run", "Print the plan and what it costs, and do nothing.")
DEVICE_OPTION = option("--device", DEVICE, "auto, cpu, cuda or cuda:i.", default="auto")
THREADS_OPTION = option("--threads", THREADS, "CPU threads of torch.  [default: torch's own]")
MEMORY_BUDGET = option(
    "--memory-budget", BYTES, "Most host memory of the process, as 8GB; buffers follow from it."
)


def task_option(whose: str) -> Any:
    """``--task`` of a command that learns it from what it reads."""
    return option("--task", choice(*TASKS), f"Refuse {whose} of another task.", group="Input")


def stage_options(function: Function) -> Function:
    """The options that every stage has."""
    for each in (DEBUG, DRY_RUN, OVERWRITE, MEMORY_BUDGET, THREADS_OPTION, DEVICE_OPTION, CONFIG):
        function = each(function)
    return function


def load_run_config(file: Path | None, own_input: Path | str | None, *, with_notes: bool = False) -> Config:
    """The configuration of a command, which is told where it comes from.

    ``own_input`` is a checkpoint or a store on the command line. With it, the demo's configuration is not
    used in place of a missing file. ``with_notes``: print what people should know of the file. The first
    command of a project does so, and the following ones do not repeat it.
    """
    config = load_config(file)
    if own_input is not None and config.source == DEMO_SOURCE:
        config = Config(source=BUILT_IN)
    is_file = config.source not in (DEMO_SOURCE, BUILT_IN)
    note(f"using {config.source}" if is_file else f"using the {config.source}")
    if config.source == DEMO_SOURCE and PROJECT.is_file():
        note(f"{PROJECT} is not used; run in that folder, or pass --config {PROJECT}")
    for line in config.notes if with_notes else ():
        note(line)
    return config


def target_device(name: str, threads: int | None) -> torch.device:
    from pipeline.machine.device import select_device, set_threads

    set_threads(threads)
    return select_device(name)


def check_folder(path: Path | str) -> None:
    """Refuse a place to write to that is a link to nowhere, or lies behind one or in a file.

    Raises UsageError.
    """
    place = Path(path)
    for folder in (place, *place.parents):
        if folder.is_symlink() and not folder.exists():
            raise UsageError(
                f"{path}: {folder} is a link to {folder.readlink()}, which does not exist; mend or "
                "remove the link"
            )
        if folder is not place and folder.exists() and not folder.is_dir():
            raise UsageError(f"{path}: {folder} is a file; expected a folder, name another place")


def check_store(store: str) -> None:
    """Refuse a place of a store that a command cannot use. Raises UsageError."""
    if store.lower().startswith("memory://"):
        from fstore.urls import shown

        raise UsageError(
            f"{shown(store)}: lies in the memory of one process and ends with it; expected a "
            "folder, or a URL that lasts"
        )
    if "://" not in store:
        check_folder(store)


def note(line: str) -> None:
    click.echo(line, err=True)


def echo_wrapped(lines: list[str]) -> None:
    """Print a title, then lines of name and value, folded to the terminal's width under the values."""
    width = shutil.get_terminal_size().columns  # 80 without a terminal
    click.echo(lines[0])
    for line in lines[1:]:
        click.echo(
            textwrap.fill(
                line, width, subsequent_indent=INDENT, break_long_words=False, break_on_hyphens=False
            )
        )


def echo_lines(lines: list[str]) -> None:
    for line in lines:
        click.echo(line)
