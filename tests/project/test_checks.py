"""What contributors are told and given is so: hooks are those of CI, and files that are named are there."""

from __future__ import annotations

import re

import pytest
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


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_files_and_folders_that_a_page_names_are_there(page: str) -> None:
    text = (REPOSITORY / page).read_text()
    named = re.findall(r"`((?:pipeline|fstore|tests|docs|configs)/[\w/]*(?:\.\w+)?)`", text)
    assert len(named) > 15
    assert [name for name in named if not (REPOSITORY / name).exists()] == []


def test_the_trees_of_the_readme_and_the_architecture_have_every_room() -> None:
    rooms = {path.parent.name for path in (REPOSITORY / "pipeline").glob("*/__init__.py")}
    readme = (REPOSITORY / "README.md").read_text()
    architecture = (REPOSITORY / "docs" / "architecture.md").read_text()
    assert set(re.findall(r"^ {6}(\w+)/ ", readme, re.MULTILINE)) == rooms
    assert set(re.findall(r"^\| `(\w+)/` ", architecture, re.MULTILINE)) == rooms
