"""Any command line where no file is there: exit code 0, 1 or 2, one line, no error that nobody foresaw."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.fault_cases import examples

from pipeline.api.explanation import REPORT
from pipeline.cli import main

Note = Callable[[str], None]
LONGEST = 4_100  # characters of an error's line, however long the value was
NUMBERS = (
    *("0", "-1", "1", "2", "7", "1e30", str(10**30), "-0", "nan", "inf", "-inf", "1e-400", "1e400", "0x10"),
    *("٣", "1_000", " 5 ", "5,5", "3.5", "1/2", "00012", "9" * 5000),
)
WORDS = (
    *("", " ", "-", "--", "auto", "none", "off", "off ", "AUTO", "cpu", "cuda:99", "meta", "dense", "coco"),
    *(
        "../..",
        "/",
        ".",
        "a/b",
        "x" * 300,
        "a\x00b",
        "a\nb",
        "\x1b[31m",
        "\ud800",
        "ß\u0301",
        "*",
        "~nobody/x",
    ),
    *("s3://", "s3://no-such-bucket/x", "file:///no/such", "http://127.0.0.1:1/x", "memory://x", "%2e%2e"),
    *(
        "0-15",
        "3,7,20-29",
        "train=0.8,val=0.2",
        "train=2",
        "0.5:0.7",
        "b8_out,3,4:-2",
        "#ff0000",
        "4GB",
        "1.5KiB",
    ),
)
BODIES = ("demo", "view", "sample")  # they run for long with no input at all


def commands(
    group: click.Group, before: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it."""
    for name, command in group.commands.items():
        words = (*before, name)
        if isinstance(command, click.Group):
            yield from commands(command, words)
        else:
            yield words, command


COMMANDS = dict(commands(main))
values = st.one_of(st.sampled_from(NUMBERS), st.sampled_from(WORDS), st.text(max_size=12))


@st.composite
def lines(draw: st.DrawFn, command: click.Command) -> list[str]:
    """Words after the command: some of its options in any order, with values right and wrong."""
    words: list[str] = []
    options = [each for each in command.params if isinstance(each, click.Option) and each.name != "debug"]
    for option in draw(st.lists(st.sampled_from(options), max_size=5)) if options else []:
        words.append(draw(st.sampled_from(option.opts)))
        if not option.is_flag or draw(st.integers(0, 9)) == 0:
            words.append(draw(values))
    arguments = sum(isinstance(each, click.Argument) for each in command.params)
    words += draw(st.lists(values, min_size=max(0, arguments - 1), max_size=arguments + 1))
    if draw(st.integers(0, 9)) == 0:
        words.insert(draw(st.integers(0, len(words))), draw(st.sampled_from(["--no-such", "-q", "--out"])))
    return words


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, in which no command runs for long and none asks a network."""
    monkeypatch.chdir(tmp_path)
    for words, command in COMMANDS.items():
        if words[0] in BODIES:
            monkeypatch.setattr(command, "callback", lambda **_: None)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    return tmp_path


def check(result: Result, words: object) -> None:
    assert result.exit_code in (0, 1, 2), (words, result.output)
    assert result.exception is None or isinstance(result.exception, SystemExit), (words, result.exception)
    if result.exit_code:
        last = result.stderr.splitlines()[-1]
        assert last.startswith("Error: ") and len(last) <= LONGEST, (words, result.stderr[-3000:])
    assert REPORT not in result.stderr and "Traceback" not in result.stderr, (words, result.stderr)


def run(words: list[str]) -> Result:
    return CliRunner().invoke(main, words)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@settings(max_examples=examples(3, 40), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_command_line_of_any_words_ends_in_one_line(
    empty: Path, words: tuple[str, ...], data: st.DataObject
) -> None:
    command = COMMANDS[words]
    line = [*words, *data.draw(lines(command))]
    flags = {flag for each in command.params for flag in each.opts}
    if "--dry-run" in flags:
        line.append("--dry-run")
    if any("http://" in word or "s3://" in word for word in line):
        line = [
            word.replace("http://127.0.0.1:1", "memory://").replace("s3://no-such-bucket", "s3:/")
            for word in line
        ]
    result = run(line)
    check(result, line)
    left = [entry.name for entry in empty.iterdir()]
    assert result.exit_code == 0 or not left, (line, left)
