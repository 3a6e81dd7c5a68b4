"""What checks a change, before a commit and in CI, is the same."""

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
