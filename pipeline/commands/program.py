"""Click classes for the program and its commands: help in groups with examples, and how a command ends.

A command ends with one clear line and the right exit code, whatever went wrong. This module knows no command.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from pipeline.api.explanation import explain, how_to_go_on
from pipeline.commands import interruption
from pipeline.commands.warning_lines import retries_in_one_line, warnings_in_one_line
from pipeline.errors import line_of

GROUPS = ("Input", "Generator", "Images", "Features", "Training", "Dataset", "Export", "Run")
"""The headings of ``--help``, in their order."""
DEBUG_KEY = "pipeline.debug"
FLAGS_KEY = "pipeline.flags"
ANEW_KEY = "pipeline.begins_anew"


class GroupedOption(click.Option):
    """An option under one of the headings of ``--help``. ``begins_anew``: see `settings.options.Option`."""

    def __init__(self, *arguments: Any, group: str = "Run", begins_anew: bool = False, **more: Any) -> None:
        if more.get("required") and more.get("default") is None:
            more.pop("default", None)  # since click 8.3 None is a default, with which nothing is missing
        super().__init__(*arguments, **more)
        self.group = group
        self.begins_anew = begins_anew


class Argument(click.Argument):
    """A value that stands without a flag, and has a line in ``--help`` all the same."""

    def __init__(self, *arguments: Any, group: str = "Input", help: str = "", **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.group, self.line = group, help  # `help` is a name of newer clicks, which show it elsewhere

    def get_help_record(self, _: click.Context) -> tuple[str, str]:
        return str(self.metavar), self.line


class Command(click.Command):
    """A command whose ``--help`` has a heading for each group of options, and ends with ``examples``."""

    def __init__(self, *arguments: Any, examples: tuple[str, ...] = (), **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.examples = examples

    def invoke(self, ctx: click.Context) -> Any:
        """Run it. What words its errors learns its flags, and whether to repeat them would begin anew."""
        parameters = self.get_params(ctx)
        ctx.meta[FLAGS_KEY] = {flag for parameter in parameters for flag in parameter.opts}
        ctx.meta[ANEW_KEY] = anew = any(
            getattr(each, "begins_anew", False) and ctx.params.get(str(each.name)) for each in parameters
        )
        interruption.State.line = how_to_go_on(interruption.LINE, anew)
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {name: [] for name in GROUPS}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                groups[getattr(parameter, "group", "Run")].append(record)
        for name, records in groups.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(formatter, self.examples)


class Commands(click.Group):
    """Commands of one subject, such as ``dgan segment``, in the order of their use."""

    def __init__(self, *arguments: Any, examples: tuple[str, ...] = (), **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.examples = examples

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(formatter, self.examples)


class Program(click.Group):
    """``dgan`` itself: its commands in the order of their use, and the end of each."""

    def main(self, *arguments: Any, **more: Any) -> Any:
        """The same as click's, but a signal ends the program with one line."""
        with signals_handled():
            return super().main(*arguments, **more)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for. Shows tracebacks only under ``--debug``."""
        try:
            with warnings_in_one_line(), retries_in_one_line(), signals_raised():
                return super().invoke(ctx)
        except click.exceptions.Exit:
            raise
        except KeyboardInterrupt:
            sys.exit(interruption.say())
        except click.ClickException as error:
            click.echo(f"Error: {one_line(error)}", err=True)
            sys.exit(error.exit_code)
        except BrokenPipeError:  # click ends quietly where `| head` has heard enough
            raise
        except Exception as error:
            if ctx.meta.get(DEBUG_KEY):
                raise
            code, line = explain(
                error, flags=ctx.meta.get(FLAGS_KEY, ()), begins_anew=ctx.meta.get(ANEW_KEY, False)
            )
            click.echo(f"Error: {line}", err=True)
            sys.exit(code)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(formatter, ("dgan demo --out demo", "dgan extract-features --help"))


@contextmanager
def signals_handled() -> Iterator[None]:
    """The handlers for the length of a block, where they are missing and this is the main thread."""
    state = interruption.State
    if state.handled or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in interruption.SIGNALS}
    hook = sys.unraisablehook
    interruption.install()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook
        state.handled, state.received, state.line = False, None, interruption.LINE
        state.said = state.written = False


@contextmanager
def signals_raised() -> Iterator[None]:
    """A block in which the first signal is raised as KeyboardInterrupt.

    Whatever a library made of the exception, the block ends with KeyboardInterrupt.
    """
    interruption.State.running = True
    try:
        yield
    except Exception as error:
        if interruption.State.received is not None:
            raise KeyboardInterrupt from error
        raise
    finally:
        interruption.State.running = False
    if interruption.State.received is not None:
        raise KeyboardInterrupt


def write_examples(formatter: click.HelpFormatter, examples: tuple[str, ...]) -> None:
    """The last section of ``--help``, a line for each example."""
    with formatter.section("Examples"):
        for example in examples:
            formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


def one_line(error: click.ClickException) -> str:
    """What click says of a wrong command line, with the way to the right one."""
    text = line_of(error.format_message())
    context = error.ctx if isinstance(error, click.UsageError) else None
    return text if context is None else f"{text.rstrip('.')}; see `{context.command_path} --help`"
