"""Which paths a configuration has, and how it means the same in a process with another current folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from pipeline.settings.schema import SECTIONS, Config, declaration


def with_absolute_paths(config: Config) -> Config:
    """``config`` with every path that is relative to the current folder made absolute. URLs stay."""
    return with_paths(config, absolute)


def with_paths(config: Config, change: Callable[[Any], Any]) -> Config:
    """``config`` with ``change(place)`` in place of every path and every place of a store, also a URL."""
    sections: dict[str, Any] = {}
    for name in SECTIONS:
        section = getattr(config, name)
        paths = {item.name: getattr(section, item.name) for item in fields(section) if _is_path(item)}
        found = {key: change(value) for key, value in paths.items() if value is not None}
        sections[name] = replace(section, **found)
    return replace(config, **sections)


def paths_of(config: Config) -> Iterator[Path | str]:
    """Every path of this machine in a configuration, URLs left out."""
    for name in SECTIONS:
        section = getattr(config, name)
        found = (getattr(section, item.name) for item in fields(section) if _is_path(item))
        yield from (path for path in found if path is not None and "://" not in str(path))


def absolute(place: Any) -> Any:
    """A path, or the place of a store, of the type that it had.

    A ``..`` behind a link to a folder stays, because it is not the folder that the link lies in.
    """
    if isinstance(place, str) and "://" in place:
        return place
    short = os.path.abspath(place)
    return type(place)(
        short if os.path.realpath(short) == os.path.realpath(place) else Path(place).absolute()
    )


def _is_path(item: Any) -> bool:
    return "setting" in item.metadata and declaration(item).rule.is_path
