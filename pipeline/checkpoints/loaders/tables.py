"""Lists the dicts and modules of a file that may hold tensors, each under the dotted path at which it stands.

Every tensor then has one full name, such as ``state_dict.generator.conv1.conv.weight``, whatever dicts,
modules and prefixes it stands in. It knows no network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from pipeline.checkpoints.containers.inert_values import Record
from pipeline.checkpoints.loaders.budget import Budget
from pipeline.checkpoints.loaders.choice import without_wrappers
from pipeline.checkpoints.loaders.records import Module, as_module, fields, joined, named, tensors_of, walk

MAX_LEVELS = 6
"""Of containers in containers; a training program has two or three."""
MAX_CHILDREN = 64
"""Containers that are looked into in one container."""
MAX_TABLES = 512


@dataclass(frozen=True)
class Table:
    """The entries of one dict, or the tensors of one module and its modules, all by their full names."""

    values: Mapping[str, Any]
    modules: Mapping[str, Module] = field(default_factory=dict)


def tables_of(content: Any) -> tuple[list[Table], dict[str, str]]:
    """The tables in a file's content, outermost first; and the faults of those that were left out, by path.

    A container that is too large or too deep for a generator is left out: for example the labels of a data
    set, or another network of the training.
    """
    budget = Budget()
    tables: list[Table] = []
    faults: dict[str, str] = {}
    queue: list[tuple[str, Any]] = [("", content)]
    levels = {"": 0}
    while queue and len(tables) < MAX_TABLES:
        path, value = queue.pop(0)
        try:
            table, children = _opened(path, value, budget)
        except ValueError as error:
            faults[path] = str(error)
            continue
        tables.append(table)
        level = levels[path] + 1
        if level <= MAX_LEVELS:
            queue += children
            levels |= {child: level for child, _ in children}
    return tables, faults


def _opened(path: str, value: Any, budget: Budget) -> tuple[Table, list[tuple[str, Any]]]:
    """The table at a path, and the containers in it."""
    module = as_module(value)
    if module is not None:
        modules = walk(module, budget)
        values = _renamed(path, tensors_of(modules, budget))
        return Table(values, _renamed(path, modules)), []
    if len(fields(value)) > budget.entries:
        return Table({}), []
    entries = dict(_entries(value, budget))
    children = ((joined(path, key), entry) for key, entry in entries.items() if _is_container(entry))
    tensors = {key: entry for key, entry in entries.items() if not _is_container(entry)}
    return Table(_renamed(path, tensors)), list(islice(children, MAX_CHILDREN))


def _renamed(path: str, entries: Mapping[str, Any]) -> dict[str, Any]:
    """The entries by their full names, without wrappers unless two would then have one name."""
    short = {key: without_wrappers(key) for key in entries}
    is_clear = len(set(short.values())) == len(short)
    return {joined(path, short[key] if is_clear else key): entry for key, entry in entries.items()}


def _entries(value: Any, budget: Budget) -> Iterator[tuple[str, Any]]:
    """Of a list, the positions stand for keys."""
    if not isinstance(value, (list, tuple)):
        return named(value, budget)
    budget.spend_entries(min(len(value), MAX_CHILDREN))
    return ((str(place), entry) for place, entry in enumerate(value[:MAX_CHILDREN]))


def _is_container(value: Any) -> bool:
    return isinstance(value, (Record, Mapping, list, tuple))
