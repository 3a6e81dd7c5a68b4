"""The options of the commands: their flags are a contract, and follow from the settings' declarations."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.command_lines import COMMANDS

from pipeline.cli import main
from pipeline.commands.options import setting_options
from pipeline.commands.program import Command
from pipeline.errors import UsageError
from pipeline.settings import schema
from pipeline.settings.files import configured
from pipeline.settings.schema import EXTRACT, SECTIONS, Config, declaration, flag_settings, flags_of, setting
from pipeline.settings.values import POSITIVE

# Flags that were there before they were made from the declarations; there may be more.
FLAGS = {
    "": ("debug version"),
    "extract-features": (
        "all-latents annotated-only annotation-format annotations average-latent check checkpoint "
        "class-label config crop-rows debug device dry-run ignore image-zero images label-map "
        "latent-space latents layers layout memory-budget min-pixels no-check noise noise-seed "
        "num-classes overlap overwrite render-batch resolution seeds sigma small-classes store "
        "scheduler task threads truncation truncation-layers upsample workers"
    ),
    "train": (
        "balance batch-size cache config debug device dry-run members memory-budget out overwrite "
        "precision scheduler seed sigma steps store subspace task threads workers"
    ),
    "synthesize": (
        "calibration checkpoint class-label config debug device dry-run force interpreter keep "
        "keep-per-class memory-budget no-keep-per-class num overwrite precision render-batch score seed "
        "scheduler store task threads tile workers"
    ),
    "sample": (
        "add average-latent checkpoint class-label config crop-rows debug device diverse dry-run "
        "noise noise-seed num out overwrite pool render-batch resolution seed task threads "
        "truncation truncation-layers uncertain by interpreter store"
    ),
    "export": (
        "all config debug dry-run format image-encoding jpeg-quality kept-only label-map limit overwrite "
        "scheduler seed split threads workers"
    ),
    "evaluate": ("annotations debug device label-map out store threads"),
    "report": ("annotated debug images out overwrite"),
    "calibrate": (
        "balance batch-size cache config debug device dry-run folds members memory-budget out overwrite "
        "precision seed steps store subspace threads"
    ),
    "filter": ("calibration debug keep keep-per-class no-keep-per-class score threads"),
    "view": ("debug no-browser port"),
    "segment train": (
        "architecture backbone batch-size color config crop data debug device dry-run epochs flip label-map "
        "no-flip num-real num-synthetic only out output-stride overwrite precision pretrained "
        "real-annotation-format real-annotations real-images released-filter resolution seed threads"
    ),
    "segment test": (
        "annotation-format annotations config cross-validate debug device images label-map out overwrite "
        "released-filter "
        "resolution threads"
    ),
    "segment predict": ("debug device epoch images out overwrite resolution threads"),
    "translate train": (
        "adversary batch-size config debug device dry-run epochs held-out no-adversary out overwrite paired "
        "precision resolution seed source source-crop target target-crop threads unpaired upsample width"
    ),
    "translate apply": ("data debug device dry-run overwrite store threads"),
    "info": ("debug"),
    "verify": ("debug"),
    "repair": ("debug dry-run"),
    "inspect-checkpoint": ("debug"),
    "demo": ("debug device num out photographs seed style task threads"),
}
ARGUMENTS = {
    "export": ["store", "out"],
    "evaluate": ["interpreter"],
    "filter": ["store"],
    "report": ["path"],
    "view": ["store"],
    "segment test": ["segmenter"],
    "segment predict": ["segmenter"],
    "translate apply": ["translator"],
    "info": ["store"],
    "verify": ["store"],
    "repair": ["store"],
    "inspect-checkpoint": ["file"],
}
REQUIRED = {  # flags without which nothing runs
    "filter": {"--keep": "1"},
    "evaluate": {"--store": "x"},
    "segment predict": {"--images": "x", "--out": "y"},
    "translate apply": {"--data": "x"},
}
FORMATS = "auto masks color binary voc labelme coco parquet ome-zarr webdataset"
CHOICES = {
    EXTRACT: {
        "--noise": "const zero random",
        "--layout": "dense pyramid",
        "--task": "segmentation keypoints",
        "--upsample": "bilinear nearest",
        "--overlap": "later earlier",
        "--image-zero": "auto latent mean skip",
        "--small-classes": "background ignore",
        "--annotation-format": FORMATS,
        "--latent-space": "z w w+",
    },
    "train": {"--precision": "auto float32 bfloat16", "--task": "segmentation keypoints"},
    "calibrate": {"--precision": "auto float32 bfloat16"},
    "synthesize": {
        "--score": "top10 mean sum class-mean interior",
        "--precision": "auto float32 bfloat16",
        "--task": "segmentation keypoints",
    },
    "sample": {
        "--noise": "const zero random",
        "--task": "segmentation keypoints",
        "--by": "random diverse uncertain uncertain-diverse rare",
    },
    "export": {
        "--format": "png voc coco webdataset parquet ome-zarr released",
        "--image-encoding": "auto png jpeg",
    },
    "filter": {"--score": "top10 mean sum class-mean interior"},
    "segment train": {
        "--only": "real synthetic both",
        "--precision": "auto float32 bfloat16",
        "--real-annotation-format": FORMATS,
    },
    "segment test": {"--annotation-format": FORMATS},
    "translate train": {"--upsample": "bilinear transposed", "--precision": "auto float32 bfloat16"},
    "demo": {"--task": "segmentation keypoints", "--style": "plain dusk masks"},
}


def run(*words: str) -> Result:
    return CliRunner().invoke(main, [*words[0].split(), *words[1:]], terminal_width=110)


def options_of(command: click.Command) -> list[click.Option]:
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


def command(name: str) -> click.Command:
    return COMMANDS[name] if name else main


@pytest.mark.parametrize("name", FLAGS)
def test_every_flag_that_ever_was_is_there(name: str) -> None:
    there = {flag for option in options_of(command(name)) for flag in (*option.opts, *option.secondary_opts)}
    assert {f"--{flag}" for flag in FLAGS[name].split()} <= there


def test_every_command_and_argument_is_there() -> None:
    assert COMMANDS.keys() == FLAGS.keys() - {""}
    for name, expected in ARGUMENTS.items():
        found = [p for p in command(name).params if isinstance(p, click.Argument)]
        assert [p.name for p in found] == expected and all(p.required for p in found)


@pytest.mark.parametrize("name", [name for name in FLAGS if name])
def test_help_ends_with_two_examples_of_the_command_whose_flags_are_there(name: str) -> None:
    lines = run(name, "--help").stdout.splitlines()
    assert lines[-3] == "Examples:"
    flags = {flag for option in options_of(command(name)) for flag in (*option.opts, *option.secondary_opts)}
    for line in lines[-2:]:
        assert line.startswith(f"  dgan {name} ")
        assert len(line) <= 80
        assert set(re.findall(r"--[a-z-]+", line)) <= flags


@pytest.mark.parametrize(
    ("name", "headings"),
    [
        ("extract-features", ["Input:", "Generator:", "Features:", "Run:"]),
        ("train", ["Input:", "Training:", "Run:"]),
        ("synthesize", ["Input:", "Generator:", "Dataset:", "Run:"]),
        ("sample", ["Generator:", "Images:", "Run:"]),
        ("export", ["Input:", "Export:", "Run:"]),
        ("evaluate", ["Input:", "Run:"]),
        ("inspect-checkpoint", ["Input:", "Generator:", "Run:"]),
    ],
)
def test_help_has_a_heading_for_each_group(name: str, headings: list[str]) -> None:
    lines = run(name, "--help").stdout.splitlines()
    assert [line for line in lines if re.fullmatch(r"\w+:", line)] == [*headings, "Examples:"]


@pytest.mark.parametrize(("name", "flag"), [(name, flag) for name in CHOICES for flag in CHOICES[name]])
def test_a_flag_with_few_values_lists_them(name: str, flag: str) -> None:
    words = CHOICES[name][flag].split()
    assert f"{flag} [{'|'.join(words)}]" in run(name, "--help").stdout
    result = run(name, flag, "none-of-them")
    assert result.exit_code == 2
    expected = ", ".join(f'"{word}"' for word in words)
    assert result.stderr == f"Error: {flag} is 'none-of-them'; expected one of {expected}\n"


@pytest.mark.parametrize("name", ARGUMENTS)
def test_help_says_what_each_argument_is(name: str) -> None:
    lines = run(name, "--help").stdout.splitlines()
    shown = lines[lines.index("Input:") + 1 :][: len(ARGUMENTS[name])]
    for argument, line in zip(ARGUMENTS[name], shown, strict=True):
        assert re.fullmatch(rf"  {argument.upper()} +\S.*\.", line)


def test_the_list_of_commands_cuts_no_sentence_off() -> None:
    text = CliRunner().invoke(main, ["--help"], terminal_width=80).stdout
    assert "..." not in text.partition("Commands:")[2]


STAGES = [
    *("extract-features", "train", "synthesize", "sample", "export", "calibrate"),
    *("segment train", "segment test", "translate train"),
]


@pytest.mark.parametrize("name", STAGES)
def test_help_gives_the_default_that_is_declared(name: str) -> None:
    text = " ".join(run(name, "--help").stdout.split())
    for _, item in flag_settings(name):
        if item.default is not None and not isinstance(item.default, bool):
            part = text.split(f" {flags_of(item)} ")[1].split(" --")[0]
            assert f"[default: {item.default}]" in part


def test_help_takes_less_than_a_third_of_a_second() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "pipeline", "--help"], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 0.3


def test_a_new_setting_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class More(schema.FeaturesConfig):
        colour_depth: int | None = setting(None, POSITIVE, "Bits of a channel.", unset="8")

    monkeypatch.setitem(SECTIONS, "features", More)

    @click.command(cls=Command)
    @setting_options(EXTRACT)
    def extract(**flags: Any) -> None:
        config = configured(Config(features=More()), flags)
        click.echo(f"colour_depth {config.features.colour_depth}")

    text = " ".join(CliRunner().invoke(extract, ["--help"]).stdout.split())
    assert "--colour-depth INTEGER Bits of a channel. [default: 8]" in text
    assert CliRunner().invoke(extract, ["--colour-depth", "12"]).stdout == "colour_depth 12\n"
    wrong = CliRunner().invoke(extract, ["--colour-depth", "0"]).exception
    assert isinstance(wrong, UsageError) and "--colour-depth is 0; expected an integer >= 1" in str(wrong)


ANOTHER = {  # a value that is no default, by what stands for it in the help
    "auto|off|ENERGY": "off",
    **{
        "INTEGER": "32",
        "NUMBER": "0.25",
        "PATH": "x/y",
        "STORE": "s3://b/x.zarr",
        "SEEDS": "3",
        "LAYERS": "0",
        "TEXT": "dogs",
    },
    **{"A:B": "1:8", "FRACTION": "0.5", "SIZE": "4GB", "NAME=FRACTION": "a=0.5,b=0.5"},
}


@pytest.mark.parametrize(
    ("name", "key"),
    [(name, (section, item.name)) for name in STAGES for section, item in flag_settings(name)],
)
def test_a_flag_reaches_its_setting_and_no_other(
    name: str, key: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    option = next(each for each in options_of(command(name)) if each.name == "__".join(key))
    rule = declaration(SECTIONS[key[0]].__dataclass_fields__[key[1]]).rule
    default = getattr(getattr(Config(), key[0]), key[1])
    if option.is_flag:
        words = [option.secondary_opts[0] if default else option.opts[0]]
    else:
        words = [option.opts[0], rule.choices[-1] if rule.choices else ANOTHER[rule.metavar]]
    seen: list[Config] = []
    monkeypatch.setattr(command(name), "callback", lambda **flags: seen.append(configured(Config(), flags)))
    result = run(name, *words, *ARGUMENTS.get(name, ()))
    assert result.exit_code == 0, result.output
    value = (not default) if option.is_flag else rule.check_text("", words[1])
    changed = replace(getattr(Config(), key[0]), **{key[1]: value})
    assert seen == [replace(Config(), **{key[0]: changed})] and seen != [Config()]


def test_every_setting_has_a_help_that_is_a_sentence() -> None:
    for kind in SECTIONS.values():
        for item in fields(kind):
            assert declaration(item).help.endswith("."), item.name


def test_a_wrong_command_line_is_one_line_that_names_the_help() -> None:
    for words in (["train", "--mambers", "3"], ["filter"], ["trian"], ["train", "surplus"]):
        result = run(*words)
        assert result.exit_code == 2
        assert re.fullmatch(r"Error: .*; see `.* --help`\n", result.stderr), result.stderr


# --- odd values ---

ODD = [
    *("nan", "inf", "-inf", "1e999", "-1e999", "9" * 400, "9" * 5000, "-" + "9" * 400, "1" * 400 + "GB"),
    *("9223372036854775808", "9223372036854775807", "18446744073709551616", "0x10", "1_0", "--", "-1"),
    *(
        "\u0663",
        "\u0663GB",
        "\u00b2",
        "0.\u0669",
        "",
        " ",
        "\0",
        "a\0b",
        "\n",
        "\u202e",
        "1e-999999999",
        "0" * 400,
    ),
    *("://", "://x", "foo://bar", "memory://x", "s3://key:secret@bucket/x", "file:///%00", "file://relative"),
    *("http://[", "~nobody-of-this-name/x", "x" * 5000, "0-4294967296", "0-99999999999", "cuda:" + "9" * 400),
    *("1:2:3", ":", "9" * 400 + ":" + "9" * 400, "b8_out:,", ",,", "true", "None", "[1, 2]"),
]
VALUED = [
    (name, option.opts[0])
    for name in COMMANDS
    for option in options_of(COMMANDS[name])
    if not option.is_flag and option.opts[0].startswith("--")
]


def parsed(name: str, flag: str, value: str) -> Result:
    """What the parser alone makes of a value: the command's body never runs."""
    stage = COMMANDS[name]
    runner = CliRunner()
    arguments = ["x"] * sum(isinstance(p, click.Argument) for p in stage.params)
    needed = REQUIRED.get(name, {})
    keep = [word for key in needed.keys() - {flag} for word in (key, needed[key])]
    before, stage.callback = stage.callback, lambda **flags: None
    try:
        return runner.invoke(main, [*name.split(), f"{flag}={value}", *keep, *arguments])
    finally:
        stage.callback = before


def option_of(name: str, flag: str) -> click.Option:
    return next(each for each in options_of(COMMANDS[name]) if each.opts[0] == flag)


def repeated(place: int) -> bool:
    """Whether three of the options before take the same kind of value."""
    kinds = [option_of(*pair).metavar for pair in VALUED[: place + 1]]
    return kinds.count(kinds[-1]) > 3


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        pytest.param(*pair, marks=pytest.mark.slow if repeated(place) else ())
        for place, pair in enumerate(VALUED)
    ],
)
def test_an_odd_value_is_taken_or_refused_in_one_line(name: str, flag: str) -> None:
    for value in ODD:
        check_taken_or_refused(parsed(name, flag, value), flag)


def check_taken_or_refused(result: Result, flag: str) -> None:
    assert result.exit_code in (0, 2), result.output
    if result.exit_code == 2:
        assert result.stderr.startswith(f"Error: {flag} is ")
        assert "; expected " in result.stderr
        assert "secret" not in result.stderr
        assert len(result.stderr.splitlines()) == 1


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(VALUED), st.text(max_size=30) | st.integers().map(str) | st.floats().map(str))
@example(("train", "--threads"), "9223372036854775808")
def test_any_value_is_taken_or_refused_in_one_line(where: tuple[str, str], value: str) -> None:
    check_taken_or_refused(parsed(*where, value), where[1])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["train", "--threads", "9223372036854775808"],
            "--threads is 9223372036854775808; expected an integer",
        ),
        (["train", "--threads", "1025"], "from 1 to 1024"),
        (["train", "--memory-budget", "9" * 400], "expected a size such as 4GB"),
        (["train", "--cache", "9" * 400 + "GB"], 'or "none"'),
        (["filter", "x", "--keep", "9" * 400], "0 < keep <= 1"),
        (["extract-features", "--truncation", "9" * 400], "--truncation is inf; expected a finite number"),
        (
            ["extract-features", "--checkpoint", "s3://key:secret@bucket/x"],
            "'s3://...@bucket/x'; expected a path",
        ),
    ],
)
def test_numbers_that_no_machine_holds_are_refused(words: list[str], says: str) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert says in result.stderr and len(result.stderr.splitlines()) == 1


# --- folders and stores ---


@pytest.mark.parametrize("url", ["s3://bucket/x", "file://relative/x", "memory://x", "://"])
def test_a_url_is_no_local_path(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, flag in VALUED:
        option = option_of(name, flag)
        if option.metavar == "PATH":
            result = run(name, flag, url)
            assert result.exit_code == 2
            assert result.stderr == f"Error: {flag} is {url!r}; expected a path on this machine\n"
    assert not any(tmp_path.iterdir())


def test_a_file_url_is_the_path_that_it_names() -> None:
    assert schema.PATH.parse("file:///tmp/a%20b") == Path("/tmp/a b")


STORES = [
    ["extract-features", "--store"],
    ["train", "--store"],
    ["synthesize", "--store"],
    ["export"],
    ["filter", "--keep=1"],
    ["evaluate", "interpreter", "--store"],
    ["info"],
    ["verify"],
    ["repair"],
]


@pytest.mark.parametrize("words", STORES, ids=" ".join)
def test_a_store_in_memory_is_refused(words: list[str]) -> None:
    result = run(*words, "memory://features.zarr", *ARGUMENTS.get(words[0], [])[1:])
    assert result.exit_code == 2
    assert "ends with it" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "words",
    [
        ["extract-features", "--store"],
        ["train", "--out"],
        ["synthesize", "--store"],
        ["sample", "--out"],
        ["export", "features.zarr"],
        ["demo", "--out"],
        ["evaluate", "interpreter", "--store=x.zarr", "--out"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("place", ["link", "link/inside", "cycle"])
def test_an_output_behind_a_link_to_nowhere_is_named(
    words: list[str], place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("link").symlink_to("gone")
    Path("cycle").symlink_to("cycle")
    result = run(*words, place)
    assert result.exit_code == 2
    assert not Path("gone").exists()
    link, target = ("cycle", "cycle") if place == "cycle" else ("link", "gone")
    assert result.stderr.splitlines()[-1] == (
        f"Error: {place}: {link} is a link to {target}, which does not exist; mend or remove the link"
    )


@pytest.mark.parametrize(
    "words", [["train", "--out"], ["sample", "--out"], ["export", "x.zarr"], ["demo", "--out"]], ids=" ".join
)
def test_an_output_inside_a_file_is_named(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    result = run(*words, "file/inside")
    assert result.exit_code == 2
    line = result.stderr.splitlines()[-1]
    assert line == "Error: file/inside: file is a file; expected a folder, name another place"
