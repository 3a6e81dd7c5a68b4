"""Shell completion as click gives it: what is offered at the Tab key, and the scripts for the shells."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

from pipeline.cli import main
from pipeline.settings.schema import EXPORT_FORMATS

HEAVY = ("torch", "zarr", "dask", "numpy", "rich", "PIL")


def offered(*words: str) -> list[CompletionItem]:
    """What follows at the Tab key after the words, the last of which is unfinished, or empty."""
    shell = ShellComplete(main, {}, "dgan", "_DGAN_COMPLETE")
    return shell.get_completions(list(words[:-1]), words[-1])


def values(*words: str) -> list[str]:
    return [item.value for item in offered(*words)]


def test_the_commands_are_offered_in_the_order_of_their_use() -> None:
    assert values("")[:3] == ["extract-features", "train", "synthesize"]
    assert values("")[-1] == "demo"
    assert values("ex") == ["extract-features", "export"]


def test_options_are_offered_that_begin_alike() -> None:
    assert values("extract-features", "--la") == [
        "--latents", "--latent-space", "--label-map", "--layout", "--layers",
    ]  # fmt: skip
    assert "--keep" in values("synthesize", "--")
    assert "--keep" not in values("train", "--")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["extract-features", "--layout", ""], ["dense", "pyramid"], id="a setting"),
        pytest.param(["extract-features", "--layout", "p"], ["pyramid"], id="the beginning of a value"),
        pytest.param(["train", "--task", ""], ["segmentation", "keypoints"], id="an option of the run"),
        pytest.param(["export", "a.zarr", "out", "--format", ""], list(EXPORT_FORMATS), id="after arguments"),
        pytest.param(
            ["train", "--members", "x", "--precision", "b"], ["bfloat16"], id="after a value that is wrong"
        ),
        pytest.param(["train", "--members", ""], [], id="a number"),
    ],
)
def test_the_values_of_a_choice_are_offered(words: list[str], expected: list[str]) -> None:
    assert values(*words) == expected


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        pytest.param(["extract-features", "--checkpoint", "net"], "file", id="a file of a setting"),
        pytest.param(["train", "--config", "net"], "file", id="a file of the run"),
        pytest.param(["inspect-checkpoint", "net"], "file", id="a file without a flag"),
        pytest.param(["train", "--store", "net"], "dir", id="a store is a folder"),
        pytest.param(["info", "net"], "dir", id="a store without a flag"),
    ],
)
def test_paths_are_left_to_the_shell(words: list[str], kind: str) -> None:
    (item,) = offered(*words)
    assert (item.type, item.value) == (kind, "net")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_a_script_that_asks_dgan(shell: str) -> None:
    found = get_completion_class(shell)
    assert found is not None
    source = found(main, {}, "dgan", "_DGAN_COMPLETE").source()
    assert f"_DGAN_COMPLETE={shell}_complete" in source


def test_the_program_answers_the_shell_and_loads_nothing_heavy() -> None:
    asked = {"_DGAN_COMPLETE": "bash_complete", "COMP_WORDS": "dgan train --task ", "COMP_CWORD": "3"}
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "pipeline"],
        env={**os.environ, **asked, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines() == ["plain,segmentation", "plain,keypoints"]
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in run.stderr.splitlines()}
    assert "click" in loaded
    assert not loaded & set(HEAVY)
