"""How a command shows the store's warnings: as one line each."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import click


@contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """A block in which the store's warnings are shown as lines, without a place in the source."""
    with warnings.catch_warnings():
        warnings.showwarning = partial(_show_warning, warnings.showwarning)
        yield


def _show_warning(
    show: Callable[..., None], message: Warning | str, category: type[Warning], *where: Any, **more: Any
) -> None:
    """The store's warnings as one line; those of libraries as Python shows them."""
    from fstore.errors import StoreWarning

    if issubclass(category, StoreWarning):
        click.echo(f"Warning: {' '.join(str(message).split())}", err=True)
    else:
        show(message, category, *where, **more)
