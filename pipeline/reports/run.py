"""Writes the page of a store or an interpreter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def report(
    path: str,
    out: Path,
    *,
    num_images: int,
    annotated: str | None,
    overwrite: bool,
    say: Callable[[str], None],
) -> str:
    """Write the page. Returns one line on what was written."""
    raise NotImplementedError
