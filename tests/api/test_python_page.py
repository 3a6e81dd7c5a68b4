"""The snippets of docs/python.md run one after another, on the embedded demo made small by a dgan.toml."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.places import REPOSITORY

import fstore
from pipeline.settings.files import demo_text

PAGE = (REPOSITORY / "docs" / "python.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
SMALL = """
[train]
members = 2
steps = 20

[synthesize]
num = 16
precision = "float32"
"""


def test_the_snippets_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dgan.toml").write_text(demo_text() + SMALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for snippet in SNIPPETS:
        exec(compile(snippet, "python.md", "exec"), names)
    assert len(SNIPPETS) == PAGE.count("```python") == 2
    dataset = fstore.open("dataset.zarr")
    assert isinstance(dataset, fstore.Dataset) and dataset.kept.sum() == 13  # ceil(0.8 * 16)
    last = capsys.readouterr().out.splitlines()[-1]
    assert "budget" in last  # what the snippet shows is an error


def test_the_page_names_every_function() -> None:
    import pipeline

    assert [name for name in pipeline._LAZY if f"pipeline.{name}" not in PAGE] == []
