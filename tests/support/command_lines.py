"""Reads a documented command line as the command itself reads it: its flags, its values, nothing run."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence

import click

from pipeline.cli import main


def _commands(group: click.Group, before: str = "") -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= _commands(command, f"{before}{name} ")
        else:
            found[before + name] = command
    return found


COMMANDS = _commands(main)
"""Every command by its words, such as "train" and "segment train"."""


def name_of(words: Sequence[str]) -> str | None:
    """The words that name a command, of all that follows ``dgan``; None where they name none."""
    return next((name for n in (2, 1) if (name := " ".join(words[:n])) in COMMANDS), None)


def read_by_click(words: Sequence[str]) -> None:
    """Have click read all that follows ``dgan``. Raises what it, or the rule of a value, finds wrong."""
    name = name_of(words)
    if name is None and not words[0].startswith("-"):
        raise click.UsageError(f"no such command: {words[0]}")
    command = main if name is None else COMMANDS[name]
    arguments = list(words) if name is None else list(words[len(name.split()) :])
    with contextlib.suppress(click.exceptions.Exit), contextlib.redirect_stdout(None):  # of --help
        command.make_context(name or words[0], arguments)


def inline_problem(text: str) -> str | None:
    """What is wrong with inline code that speaks of the command line; None also where it does not.

    It may be a command line, the flags of one, or the name of a command or flag that is only spoken of.
    """
    if not text.startswith(("--", "dgan ", *(f"{name} --" for name in COMMANDS))):
        return None
    words = shlex.split(text)
    if words[0] == "dgan":
        named = [*main.commands, *COMMANDS]
        return None if " ".join(words[1:]) in named else _line_problem(words[1:])
    commands = [main, *COMMANDS.values()]
    name = name_of(words)
    if name is not None and not words[0].startswith("--"):
        commands, words = [COMMANDS[name]], words[len(name.split()) :]
    taken = _knows if len(words) == 1 else _takes
    return None if any(taken(command, words) for command in commands) else f"no command takes {text}"


def _line_problem(words: list[str]) -> str | None:
    try:
        read_by_click(words)
    except Exception as error:
        return repr(error)
    return None


def _knows(command: click.Command, flag: list[str]) -> bool:
    """Whether the command has this flag, which may want a value."""
    options = command.get_params(click.Context(command))
    return flag[0] in {name for each in options for name in (*each.opts, *each.secondary_opts)}


def _takes(command: click.Command, words: list[str]) -> bool:
    """Whether the command takes these flags with these values; the rest of its line may be missing."""
    context = click.Context(command)
    try:
        values, rest, _ = command.make_parser(context).parse_args(list(words))
        for each in command.get_params(context):
            if isinstance(each, click.Option) and each.name in values:
                each.type_cast_value(context, values[each.name])
    except Exception:
        return False
    return not rest
