"""What contributors are told and given is so: hooks are those of CI, and files that are named are there."""

from __future__ import annotations

import re

import yaml
from support.places import REPOSITORY


def test_the_hooks_before_a_commit_are_the_commands_of_make_lint() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    recipe = re.search(r"^lint: setup\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert recipe is not None
    commands = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    (local,) = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"  # nothing is fetched
    assert [hook["entry"] for hook in local["hooks"]] == commands
    assert {hook["language"] for hook in local["hooks"]} == {"system"}


def test_files_and_folders_that_contributing_names_are_there() -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`([\w.]+/[\w/]*(?:\.\w+)?)`", text)
    assert len(named) > 20
    assert [name for name in named if not (REPOSITORY / name).exists()] == []
