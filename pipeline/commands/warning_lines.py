"""How a command shows what a store has to say beside its work: its warnings and its retries, a line each."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import click

from pipeline.errors import line_of


@contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """A block in which the store's warnings are shown as lines, without a place in the source."""
    with warnings.catch_warnings():
        warnings.showwarning = partial(_show_warning, warnings.showwarning)
        yield


@contextmanager
def retries_in_one_line() -> Iterator[None]:
    """A block after which people are told how often requests to a store at a URL were sent again."""
    _retry_lines()  # what was before the block is not its own
    try:
        yield
    finally:
        for line in _retry_lines():
            click.echo(line, err=True)


def _retry_lines() -> list[str]:
    requests = sys.modules.get("fstore.requests")  # not loaded: nothing was asked for
    return [] if requests is None else list(requests.retry_lines())


def _show_warning(
    show: Callable[..., None], message: Warning | str, category: type[Warning], *where: Any, **more: Any
) -> None:
    """The store's warnings as one line; those of libraries as Python shows them."""
    from fstore.errors import StoreWarning

    if issubclass(category, StoreWarning):
        click.echo(f"Warning: {line_of(str(message))}", err=True)
    else:
        show(message, category, *where, **more)
