"""The options of the commands, made from the declarations of settings and options, and how lines are printed.

A flag of a setting reaches its command as ``section__key``, checked by the rule of the setting.
`pipeline.settings.files.configured` lays all such flags over a configuration.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import Field
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from pipeline.commands.program import DEBUG_KEY, Argument, GroupedOption
from pipeline.settings.options import AFTER_SETTINGS, BEFORE_SETTINGS, Option
from pipeline.settings.schema import CALIBRATE, SAMPLE, TRAIN, declaration, flag_settings, flags_of
from pipeline.settings.values import BOOLEAN, STORE, Rule

Function = TypeVar("Function", bound=Callable[..., Any])

INDENT = " " * 13  # of the values in what `dgan info` prints
HEADINGS = {
    "generator": "Generator",
    "latents": "Input",
    "annotations": "Input",
    "features": "Features",
    "train": "Training",
    "calibrate": "Training",
    "synthesize": "Dataset",
    "export": "Export",
    "segment": "Training",
    "segment_test": "Input",
    "translate": "Training",
}
SECTION_HEADINGS = {
    TRAIN: {"features": "Input"},
    CALIBRATE: {"features": "Input"},
    SAMPLE: {"annotations": "Images", "features": "Images"},
}
"""By the command: where a section does not stand under its usual heading."""


class Checked(click.ParamType):
    """A value as a setting's rule keeps it. The error is the one that the key in a file gets."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.name = rule.metavar.lower()

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        label = param.opts[0] if isinstance(param, click.Option) else str(getattr(param, "name", "")).upper()
        return self.rule.check_either(label, value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """What may follow at the Tab key: the choices, or the shell's own paths; of stores only folders."""
        if self.rule.is_path:
            return [CompletionItem(incomplete, type="dir" if self.rule is STORE else "file")]
        return [CompletionItem(word) for word in self.rule.choices if word.startswith(incomplete)]


def declared(each: Option) -> Any:
    """The argument, switch or option of a declaration."""
    if each.is_argument:
        return argument(each.name, each.rule, each.help)
    if each.rule is BOOLEAN:
        return switch(each.flag, each.help, group=each.group, begins_anew=each.begins_anew)
    return click.option(
        each.flag,
        cls=GroupedOption,
        type=Checked(each.rule),
        default=each.default,
        required=each.is_required,
        metavar=metavar(each.rule),
        help=each.help_with_default,
        group=each.group,
    )


def switch(flag: str, help: str, *, group: str = "Run", begins_anew: bool = False) -> Any:
    """An option without a value."""
    return click.option(
        flag, cls=GroupedOption, is_flag=True, help=help, group=group, begins_anew=begins_anew
    )


def argument(name: str, rule: Rule, help: str) -> Any:
    """A value that stands without a flag."""
    return click.argument(name, cls=Argument, type=Checked(rule), metavar=name.upper(), help=help)


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


def command_options(command: str) -> Callable[[Function], Function]:
    """All options of a command that has settings: those too that are no settings, and ``--debug``."""
    headings = SECTION_HEADINGS.get(command)

    def decorate(function: Function) -> Function:
        function = DEBUG(function)
        for each in reversed(AFTER_SETTINGS.get(command, ())):
            function = declared(each)(function)
        function = setting_options(command, headings)(function)
        for each in reversed(BEFORE_SETTINGS.get(command, ())):
            function = declared(each)(function)
        return function

    return decorate


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
