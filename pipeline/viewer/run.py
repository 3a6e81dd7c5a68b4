"""Serves the page of a store until it is interrupted."""

from __future__ import annotations

from collections.abc import Callable


def view(
    store: str, *, annotated: str | None, port: int, open_browser: bool, say: Callable[[str], None]
) -> None:
    """Serve until KeyboardInterrupt."""
    raise NotImplementedError
