"""docs/python.md names every function. `tests/project/test_documented_commands.py` runs its snippets."""

from __future__ import annotations

from support.places import REPOSITORY

import pipeline


def test_the_page_names_every_function() -> None:
    page = (REPOSITORY / "docs" / "python.md").read_text(encoding="utf-8")
    assert [name for name in pipeline._LAZY if f"pipeline.{name}" not in page] == []
