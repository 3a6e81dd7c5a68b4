"""How messages show a value: as Python writes it, and never long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import short


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "None"),
        ("a\nb", r"'a\nb'"),  # one line, whatever it holds
        (Path("in/g.pt"), "'in/g.pt'"),  # as it was written, not as PosixPath(...)
        ("x" * 58, repr("x" * 58)),  # 60 characters with the quotes
        ("x" * 59, "'" + "x" * 56 + "..."),
        ([0] * 1000, "[" + "0, " * 18 + "0," + "..."),
    ],
)
def test_a_value_is_shown_in_at_most_60_characters(value: Any, shown: str) -> None:
    assert short(value) == shown
    assert len(short(value)) <= 60
