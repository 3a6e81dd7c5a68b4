"""Reads a documented command line as the command itself reads it: its flags, its values, nothing run."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence

import click

from pipeline.cli import main


def read_by_click(words: Sequence[str]) -> None:
    """Have click read all that follows ``dgan``. Raises what it, or the rule of a value, finds wrong."""
    if words[0] not in main.commands and not words[0].startswith("-"):
        raise click.UsageError(f"no such command: {words[0]}")
    command = main.commands.get(words[0], main)
    arguments = list(words) if command is main else list(words[1:])
    with contextlib.suppress(click.exceptions.Exit), contextlib.redirect_stdout(None):  # of --help
        command.make_context(words[0], arguments)


def inline_problem(text: str) -> str | None:
    """What is wrong with inline code that speaks of the command line; None also where it does not.

    It may be a command line, the flags of one, or the name of a command or flag that is only spoken of.
    """
    if not text.startswith(("--", "dgan ", *(f"{name} --" for name in main.commands))):
        return None
    words = shlex.split(text)
    if words[0] == "dgan":
        return None if words[1:] in [[name] for name in main.commands] else _line_problem(words[1:])
    commands = [main, *main.commands.values()]
    if not words[0].startswith("--"):
        commands = [main.commands[words.pop(0)]]
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
