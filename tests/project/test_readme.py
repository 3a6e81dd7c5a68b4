"""Every Python snippet of README.md runs, on the store that the embedded demo makes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.places import REPOSITORY

from pipeline.cli import main

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo's ``features.zarr``, as ``dgan extract-features`` leaves it."""
    folder = tmp_path_factory.mktemp("readme")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = CliRunner().invoke(main, ["extract-features", "--layout", "pyramid"])
    assert result.exit_code == 0, result.output
    return folder


def test_there_are_snippets() -> None:
    assert SNIPPETS and len(SNIPPETS) == README.count("```python")


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_snippet_runs(snippet: str, demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo)
    exec(compile(snippet, "README.md", "exec"), {"__name__": "readme"})
