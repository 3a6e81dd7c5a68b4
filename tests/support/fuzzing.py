"""Words that a user never meant to write, and what every command must make of them: an exit code of 0, 1 or 2
and a line, no traceback, nothing left behind.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click
import pytest
from _pytest.mark import ParameterSet
from click.testing import Result
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.fault_cases import SOAK
from support.fault_table import REFUSED, SURVIVED

from pipeline.api.explanation import REPORT

LONGEST_LINE = 6000
LIMIT_SECONDS = 60  # after which a command that never ends is stopped; nothing is measured by it
NUMBERS = [
    *(
        "0",
        "1",
        "2",
        "-1",
        "-0",
        "3.5",
        "0.5",
        "1e3",
        "1e-400",
        "1e400",
        "nan",
        "inf",
        "-inf",
        "NaN",
        "0x10",
        "1_0",
    ),
    *(
        "9223372036854775807",
        "9223372036854775808",
        "1" + "0" * 30,
        "9" * 5000,
        "\u0663",
        "\u00b2",
        " 1 ",
        "+1",
        "1/2",
    ),
    *(
        "1GB",
        "-1GB",
        "1e30GB",
        "0B",
        "none",
        "auto",
        "3:1",
        "0:9",
        "0-",
        "0-99999999999",
        "1,,2",
        "4:",
        ":",
        ",",
    ),
]
TEXTS = [
    *(
        "",
        " ",
        ".",
        "..",
        "/",
        "~",
        "~nobody/x",
        "-",
        "--",
        "=",
        "a\nb",
        "a\x1b[31mb",
        "a\x00b",
        "\ud800",
        "\udc80",
    ),
    *("x" * 300, "x" * 9000, "y " * 4500, "\u202eabc", "\U0001f600", "%s%n{0}", "$HOME", "a=0.5,b=0.5"),
    *(
        "absent",
        "absent/x",
        "absent.json",
        "/dev/null",
        "/dev/zero",
        "/proc/self/mem",
        "file:///",
        "file://h/x",
    ),
    *("zz://bucket/x", "://", "s3:", "file:///a%00b", "train=1", "train=nan", "train=0.5,train=0.5"),
]


def amounts(fast: int, whole: int) -> list[ParameterSet]:
    """Values for ``parametrize``: how many examples are tried; the larger number is marked slow."""
    total = int(os.environ.get(SOAK, 0)) * 10 or whole
    return [pytest.param(fast, id="few"), pytest.param(total, id="many", marks=pytest.mark.slow)]


def try_examples(number: int, strategy: st.SearchStrategy[Any], check: Callable[[Any], None]) -> None:
    """Run ``check`` on so many values of the strategy."""
    health = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    phases = [Phase.generate]  # to make a failing example shorter takes minutes; it is printed as it is
    limits = settings(
        max_examples=number,
        deadline=None,
        database=None,
        derandomize=True,
        phases=phases,
        suppress_health_check=health,
    )
    limits(given(strategy)(check))()


def values(known: list[str]) -> st.SearchStrategy[str]:
    """Values of an option: those that are known to be right, and any other."""
    right = st.sampled_from(known) if known else st.nothing()
    return st.one_of(right, right, st.sampled_from(NUMBERS), st.sampled_from(TEXTS), st.text(max_size=8))


def command_lines(command: click.Command, known: list[str]) -> st.SearchStrategy[list[str]]:
    """What may follow a command: some of its options, repeated, with any values, and words that it does not
    have.
    """
    parts = [st.builds(lambda value: [value], values(known)) for _ in range(1)]
    for each in command.params:
        if each.name in ("debug", "dry_run") or isinstance(each, click.Argument):
            continue
        flags = st.sampled_from([*each.opts, *each.secondary_opts])
        if getattr(each, "is_flag", False):
            parts.append(flags.map(lambda flag: [flag]))
        else:
            choices = [*getattr(getattr(each.type, "rule", None), "choices", ())]
            parts.append(st.builds(lambda flag, value: [flag, value], flags, values(choices or known)))
    parts.append(st.sampled_from([["--no-such-flag"], ["--"], ["--help"], ["-z"], ["--store="], ["--num"]]))
    arguments = sum(isinstance(each, click.Argument) for each in command.params)
    some = st.lists(st.one_of(parts), max_size=5).map(
        lambda found: [word for words in found for word in words]
    )
    first = st.lists(values(known), min_size=arguments, max_size=arguments)
    return st.builds(lambda front, rest: [*front, *rest], first, some)


@contextmanager
def limited() -> Iterator[None]:
    """A block that fails where it does not end."""

    def stop(number: int, frame: FrameType | None) -> None:
        pytest.fail(f"did not end in {LIMIT_SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def check_end(result: Result) -> str:
    """What a command came to: SURVIVED where it succeeded, REFUSED where one line says why it did not."""
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (0, 1, 2), result.output
    assert "Traceback" not in result.output and REPORT not in result.stderr, result.stderr[-500:]
    lines = result.output.split("\n")
    assert max(map(len, lines)) <= LONGEST_LINE
    assert all(line.isprintable() for line in lines), [line for line in lines if not line.isprintable()][:3]
    if result.exit_code == 0:
        return SURVIVED
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: "), last
    return REFUSED


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file of a folder, by its path, to see that none came, went or changed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        found[str(path)] = (-1, 0) if path.is_dir() else (about.st_size, about.st_mtime_ns)
    return found
