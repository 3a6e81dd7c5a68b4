"""Keywords of the functions are the flags of the commands, one by one, with the same values and defaults."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from support.command_lines import COMMANDS

import pipeline
from pipeline.api.functions import documented
from pipeline.api.keywords import Keyword, checked, keywords
from pipeline.cli import main
from pipeline.errors import UsageError
from pipeline.settings import schema
from pipeline.settings.schema import (
    CALIBRATE,
    EXTRACT,
    SAMPLE,
    SECTIONS,
    SEGMENT_PREDICT,
    SEGMENT_TEST,
    SEGMENT_TRAIN,
    SYNTHESIZE,
    TRAIN,
    TRANSLATE_APPLY,
    TRANSLATE_TRAIN,
    Config,
    setting,
)
from pipeline.settings.values import POSITIVE

FUNCTIONS: dict[str, Callable[..., Any]] = {
    EXTRACT: pipeline.extract_features,
    TRAIN: pipeline.train,
    SYNTHESIZE: pipeline.synthesize,
    SAMPLE: pipeline.sample,
    "filter": pipeline.filter,
    "export": pipeline.export,
    CALIBRATE: pipeline.calibrate,
    SEGMENT_TRAIN: pipeline.segment_train,
    SEGMENT_TEST: pipeline.segment_test,
    SEGMENT_PREDICT: pipeline.segment_predict,
    TRANSLATE_TRAIN: pipeline.translate_train,
    TRANSLATE_APPLY: pipeline.translate_apply,
}
ANOTHER = {  # a value that is no default, by what stands for it in the help
    "auto|off|ENERGY": "off",
    **{"INTEGER": "32", "NUMBER": "0.25", "PATH": "x/y", "STORE": "s3://b/x.zarr", "SEEDS": "3"},
    **{
        "LAYERS": "0",
        "TEXT": "dogs",
        "A:B": "1:8",
        "FRACTION": "0.5",
        "SIZE": "4GB",
        "DEVICE": "cpu",
        "NAME=FRACTION": "a=1",
        "ADDRESS|FILE": "tcp://host:8786",
    },
}
EACH = [(command, name) for command in FUNCTIONS for name in keywords(command)]


def parameters(command: str) -> dict[str, click.Parameter]:
    """The parameters of a command as click has them, by what Python calls them."""
    found = {}
    for each in COMMANDS[command].params:
        flag = each.opts[0] if isinstance(each, click.Option) else str(each.name)
        found[flag.removeprefix("--").replace("-", "_")] = each
    return found


@pytest.mark.parametrize("command", FUNCTIONS)
def test_a_function_has_the_flags_of_its_command_and_say(command: str) -> None:
    signature = inspect.signature(FUNCTIONS[command])
    assert set(signature.parameters) == set(parameters(command)) - {"debug"} | {"say"}


@pytest.mark.parametrize("command", FUNCTIONS)
def test_the_documentation_has_a_line_a_keyword_with_the_flags_help(command: str) -> None:
    lines = [line.strip() for line in str(FUNCTIONS[command].__doc__).splitlines()]
    for name, each in parameters(command).items():
        if name != "debug":
            (line,) = [line for line in lines if line.startswith(f"{name}: ")]
            assert (getattr(each, "help", None) or "").partition("  [default")[0] in line


def flags_of_command(command: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a command's body is given."""
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(COMMANDS[command], "callback", lambda **flags: seen.append(flags))
    result = CliRunner().invoke(main, [*command.split(), *words])
    assert result.exit_code == 0, result.output
    return seen[0]


def another(command: str, name: str) -> str:
    rule = keywords(command)[name].rule
    return rule.choices[-1] if rule.choices else ANOTHER[rule.metavar]


def required(command: str) -> dict[str, str]:
    """A text for each parameter without which the command does not run."""
    return {name: another(command, name) for name, each in parameters(command).items() if each.required}


def words_of(command: str, given: dict[str, str]) -> list[str]:
    """The command line of some texts, by what Python calls them."""
    words = []
    for key, text in given.items():
        option = parameters(command)[key]
        words += [option.opts[0], text] if isinstance(option, click.Option) else [text]
    return words


def words_for(command: str, name: str) -> tuple[list[str], dict[str, Any]]:
    """A command line that sets one option, and the same as keywords."""
    given: dict[str, Any] = required(command)
    each = parameters(command)[name]
    if isinstance(each, click.Option) and each.is_flag:
        default = keywords(command)[name].default
        word = each.secondary_opts[0] if default else each.opts[0]
        return [word, *words_of(command, given)], {**given, name: not default}
    given[name] = another(command, name)
    return words_of(command, given), given


@pytest.mark.parametrize("command", FUNCTIONS)
def test_a_keyword_has_the_default_of_its_flag(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An option's is what the command's body is given, a setting's what is declared: its flag has none."""
    needed = required(command)
    given = flags_of_command(command, words_of(command, needed), monkeypatch)
    for name, each in parameters(command).items():
        shown = inspect.signature(FUNCTIONS[command]).parameters.get(name)
        if name in needed:
            assert shown is not None and shown.default is inspect.Parameter.empty
        elif shown is not None:
            section, _, key = str(each.name).partition("__")
            default = getattr(getattr(Config(), section), key) if key else given[str(each.name)]
            kept = None if shown.default is None else keywords(command)[name].check(shown.default)
            assert kept == default, name


@pytest.mark.parametrize(("command", "name"), EACH)
def test_a_keyword_reaches_the_run_as_its_flag_does(
    command: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, given = words_for(command, name)
    assert checked(command, "f", given) == flags_of_command(command, words, monkeypatch)


@pytest.mark.parametrize(
    ("command", "name", "value", "text"),
    [
        ("filter", "keep", 0.07, "0.07"),
        (EXTRACT, "crop_rows", (64, 448), "64:448"),
        (EXTRACT, "layers", ("b8_out", 3), "b8_out,3"),
        (EXTRACT, "checkpoint", Path("a/b.pkl"), "a/b.pkl"),
        (EXTRACT, "store", Path("x.zarr"), "x.zarr"),
        (EXTRACT, "seeds", 7, "7"),
        (EXTRACT, "seeds", [3, 7], "3,7"),
        (EXTRACT, "seeds", range(3), "0,1,2"),
        (EXTRACT, "device", torch.device("cuda", 1), "cuda:1"),
        ("export", "split", {"train": 0.9, "val": 0.1}, "train=0.9,val=0.1"),
        (TRAIN, "memory_budget", 4 * 10**9, "4GB"),
        (TRAIN, "members", np.int64(5), "5"),  # as numbers come out of arrays
        (TRAIN, "sigma", np.float64(0.5), "0.5"),
        (TRAIN, "steps", torch.tensor(7), "7"),
    ],
)
def test_a_value_of_python_is_what_the_flags_text_is(command: str, name: str, value: Any, text: str) -> None:
    keyword = keywords(command)[name]
    assert keyword.check(value) == keyword.check(text)


def test_a_cache_may_be_a_number_of_bytes() -> None:
    assert keywords(TRAIN)["cache"].check(4000) == "4000"
    assert keywords(TRAIN)["cache"].check(0) == "none"


@pytest.mark.parametrize(
    ("command", "given", "line"),
    [
        (TRAIN, {"mambers": 3}, "f: unknown keyword 'mambers'; the nearest known one is 'members'"),
        (TRAIN, {"debug": True}, "f: unknown keyword 'debug'; the nearest known one is"),
        (
            TRAIN,
            {"learning_rate": 0.1},
            "f: learning_rate is no keyword; it is set in a TOML file, as [train] learning_rate: pass config",
        ),
        (TRAIN, {"members": 2.5}, "--members is 2.5; expected an integer >= 1, below 2^63"),
        (TRAIN, {"overwrite": "yes"}, "--overwrite is 'yes'; expected true or false"),
        (
            EXTRACT,
            {"latents": np.zeros((16, 64))},
            "--latents is an array (16, 64); expected a path on this machine; save it with numpy.save, and "
            "name the file",
        ),
        (EXTRACT, {"crop_rows": np.arange(2)}, "--crop-rows is an array (2,); expected two rows"),
        (EXTRACT, {"annotations": [1]}, "--annotations is [1]; expected a path on this machine"),
        (EXTRACT, {"checkpoint": np}, "--checkpoint is <module 'numpy'"),  # its ndim is a function
        (EXTRACT, {"seeds": [1, -1]}, "--seeds is [1, -1]; expected seeds such as"),
        (EXTRACT, {"seeds": range(2**40)}, "--seeds is range(0, 1099511627776); expected seeds such as"),
        (EXTRACT, {"device": torch.device("meta")}, "--device is device(type='meta'); expected auto, cpu"),
        ("export", {"store": "s", "out": "o", "split": {"a": 0.9}}, "--split is {'a': 0.9}; expected names"),
        ("filter", {"keep": 1}, "f: store is missing; expected a path or a URL of a store"),
        ("filter", {"store": "d.zarr"}, "f: keep is missing; expected a decimal fraction"),
    ],
)
def test_a_wrong_keyword_is_one_line(command: str, given: dict[str, Any], line: str) -> None:
    with pytest.raises(UsageError) as caught:
        checked(command, "f", given)
    assert str(caught.value).startswith(line) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (
            lambda: pipeline.train("features.zarr"),
            "pipeline.train: 'features.zarr' has no keyword; no value may stand without one",
        ),
        (
            lambda: pipeline.filter("dataset.zarr", 0.5),
            "pipeline.filter: 0.5 has no keyword; only store may stand without one",
        ),
        (
            lambda: pipeline.export("dataset.zarr", "out", "png"),
            "pipeline.export: 'png' has no keyword; only store and out may stand without one",
        ),
        (
            lambda: pipeline.export("dataset.zarr", "out", store="other.zarr"),
            "pipeline.export: store is given twice; pass it once",
        ),
    ],
)
def test_a_value_at_a_wrong_place_is_one_line(call: Callable[[], Any], line: str) -> None:
    with pytest.raises(UsageError) as caught:
        call()
    assert str(caught.value) == line


def test_none_is_the_same_as_to_leave_a_keyword_out() -> None:
    for command in (EXTRACT, TRAIN, SYNTHESIZE, SAMPLE):
        assert checked(command, "f", dict.fromkeys(keywords(command))) == checked(command, "f", {})


def test_a_new_setting_needs_no_second_place(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class More(schema.TrainConfig):
        mood: int | None = setting(None, POSITIVE, "How it feels.", unset="good")

    monkeypatch.setitem(SECTIONS, "train", More)

    @documented(TRAIN)
    def function(**settings: Any) -> None:
        """Train."""

    assert "mood: How it feels. [default: good]" in str(function.__doc__)
    assert inspect.signature(function).parameters["mood"].default is None
    assert checked(TRAIN, "f", {"mood": "3"})["train__mood"] == 3


def test_every_keyword_is_shown_by_a_line_of_its_own() -> None:
    keyword = Keyword("a", "a", "--a", POSITIVE, "Help.", 3, 3, "")
    assert keyword.line() == "a: Help. [default: 3]"
