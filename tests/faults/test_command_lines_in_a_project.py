"""Any words after any command end in an exit code of 0, 1 or 2 and one line, and leave no file behind.

The commands are taken from the program itself, so that a new one is tried too.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.command_lines import COMMANDS
from support.commands import dgan
from support.fault_commands import Workshop
from support.fuzzing import amounts, check_end, command_lines, limited, state, try_examples

pytestmark = pytest.mark.slow
ENDLESS = ("demo", "view")
"""Commands that train a network or wait for a browser: of these only the reading of the line is tried."""
KNOWN = [
    "features.zarr",
    "dataset.zarr",
    "interpreter",
    "in/checkpoint.pt",
    "in/latents.npy",
    "in/masks",
    "out",
    "in",
]


@pytest.fixture(scope="module")
def project(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands read."""
    folder = tmp_path_factory.mktemp("command_lines") / "project"
    folder.mkdir()
    shutil.copytree(workshop.inputs, folder / "in")
    for name, place in (
        ("extract-pyramid", "features.zarr"),
        ("train", "interpreter"),
        ("synthesize", "dataset.zarr"),
    ):
        shutil.copytree(workshop.out(name), folder / place)
    return folder


@pytest.mark.parametrize("number", amounts(1, 4))
@pytest.mark.parametrize("name", COMMANDS)
def test_any_command_line_ends_in_a_code_and_a_line(
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    number: int,
    note: Callable[[str], None],
) -> None:
    command, folder = COMMANDS[name], tmp_path / "project"
    dry = ["--dry-run"] if any(each.name == "dry_run" for each in command.params) else []
    if name in ENDLESS:
        monkeypatch.setattr(command, "callback", lambda **flags: None)
    shutil.copytree(project, folder)
    monkeypatch.chdir(folder)

    def check(words: list[str]) -> None:
        before = state(folder)
        with limited():
            result = dgan(*name.split(), *dry, *words)
        torch.set_num_threads(1)
        note(check_end(result))
        after = state(folder)
        if after != before:
            assert result.exit_code == 0 and not dry, sorted({*before.items()} ^ {*after.items()})
            monkeypatch.chdir(tmp_path)
            shutil.rmtree(folder)
            shutil.copytree(project, folder)
            monkeypatch.chdir(folder)

    try_examples(number, command_lines(command, KNOWN), check)
