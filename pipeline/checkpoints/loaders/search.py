"""Finds the generators in a file by the tensors that mark them, wherever they stand and under any prefix.

A `Layout` says how one program names a generator's tensors. The prefix is whatever stands before the names
that mark the generator: there is no list of prefixes. This module knows no weights. Which of several
generators is meant, `pipeline.checkpoints.loaders.choice` decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import numpy as np
from torch import Tensor

from pipeline.checkpoints.containers.inert_values import StoredTensor
from pipeline.checkpoints.loaders.choice import is_averaged, without_wrappers
from pipeline.checkpoints.loaders.network import FoundNetwork
from pipeline.checkpoints.loaders.records import Module, joined, text_of
from pipeline.checkpoints.loaders.tables import Table
from pipeline.checkpoints.loaders.tensor_table import TensorTable, tensor_shape

AVERAGE_NAMES = (
    *("latent_avg", "w_avg", "dlatent_avg", "avg_latent", "average_latent", "mean_latent"),
    *("truncation.avg_latent", "truncation.w_avg"),
)
"""What programs call the average latent in W, inside a network or beside it."""
MAX_GENERATORS = 64


@dataclass(frozen=True)
class Layout:
    """How a program names the tensors of a generator's two parts, which may stand in one dict or in two.

    ``synthesis_mark`` and ``mapping_mark``: tensors that each such part has, and no other network. ``build``
    gets names that begin with ``synthesis_prefix`` or ``mapping_prefix``, whatever the file has in their
    place. Only names that begin with ``mapping_names`` are of the mapping.
    """

    synthesis_mark: str
    mapping_mark: str
    build: Callable[[Candidate], FoundNetwork]
    """Raises ValueError where the network is damaged, UnsupportedNetwork where it is of another kind."""
    synthesis_prefix: str = ""
    mapping_prefix: str = ""
    mapping_names: str = ""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A generator in a file, not built yet. ``values`` and ``modules`` have the layout's names."""

    layout: Layout
    path: str
    """Where its synthesis network stands."""
    place: str
    """Where the generator stands: what the paths of its two parts begin with."""
    mark: Any
    """The tensor that marks its synthesis network. Where two share it, one network stands under two names."""
    values: Mapping[str, Any]
    modules: Mapping[str, Module] = field(default_factory=dict)
    has_mapping: bool = True
    average: tuple[str, Any] | None = None
    """Full name and value of the average latent that stands nearest, if there is one."""

    @property
    def shown(self) -> str:
        """The place for people: escaped unless it is plain."""
        is_plain = self.place.isascii() and self.place.replace(".", "").replace("_", "").isalnum()
        return self.place if is_plain and len(self.place) <= 60 else text_of(self.place)

    def labelled(self, name: str) -> str:
        """The format's name, with the place where there is one."""
        return f"{name}, {self.shown}" if self.place else name

    def table(self) -> TensorTable:
        """Its tensors. Raises ValueError for more than any generator has."""
        return TensorTable(self.values)

    def check_all_taken(self, table: TensorTable) -> None:
        """ValueError naming the first tensor that was not taken; other entries are no weights."""
        table.check_all_taken(lambda name: not _is_weight(self.values[name]))


@dataclass(frozen=True)
class _Part:
    """The entries of one table whose names begin with one path."""

    path: str
    table: Table

    def names(self, names: Iterable[str]) -> Iterator[tuple[str, str]]:
        """(full name, name below the path) of those of the names that are below it."""
        head = f"{self.path}." if self.path else ""
        return ((name, name[len(head) :]) for name in names if name.startswith(head))

    def modules(self, prefix: str) -> dict[str, Module]:
        """The modules below the path, the one at the path included, by their names under a prefix."""
        names = self.names(f"{name}." for name in self.table.modules)
        return {(prefix + name).strip("."): self.table.modules[full[:-1]] for full, name in names}


def candidates(tables: Sequence[Table], layouts: Iterable[Layout]) -> list[Candidate]:
    """Every generator in the tables, by layout and in the file's order.

    Raises ValueError where there are more than any file has, or one has several mapping networks beside it.
    """
    return [each for layout in layouts for each in _of_layout(layout, tables)]


def mapping_paths(layout: Layout, tables: Sequence[Table]) -> list[str]:
    """Where mapping networks of this layout stand, with a synthesis network or without."""
    return [part.path for part in _parts(tables, layout.mapping_mark)]


def _of_layout(layout: Layout, tables: Sequence[Table]) -> Iterator[Candidate]:
    found = _parts(tables, layout.synthesis_mark)
    if len(found) > MAX_GENERATORS:
        raise ValueError(f"it holds {len(found)} generators, expected at most {MAX_GENERATORS}")
    mappings = _parts(tables, layout.mapping_mark) if found else []
    for synthesis in found:
        yield _candidate(layout, synthesis, _mapping_of(synthesis, mappings), tables)


def _parts(tables: Iterable[Table], mark: str) -> list[_Part]:
    return [
        _Part(name.removesuffix(mark).removesuffix("."), table)
        for table in tables
        for name in table.values
        if name == mark or name.endswith(f".{mark}")
    ]


def _mapping_of(synthesis: _Part, mappings: Iterable[_Part]) -> _Part | None:
    """The mapping network under the same path, or beside it; None where there is none."""
    near = [part for part in mappings if _are_near(synthesis.path, part.path)]
    same = [part for part in near if part.path == synthesis.path and part.table is synthesis.table]
    alike = [part for part in near if is_averaged(part.path) == is_averaged(synthesis.path)]
    near = same or alike or near
    if len(near) > 1:
        first, second = sorted(text_of(part.path) for part in near[:2])
        raise ValueError(f"beside one synthesis network it has mapping networks under {first} and {second}")
    return near[0] if near else None


def _are_near(first: str, second: str) -> bool:
    """Whether two paths are the same, parent and child, or children of one parent; wrappers do not count."""
    a, b = without_wrappers(first), without_wrappers(second)
    above_a, above_b = a.rpartition(".")[0], b.rpartition(".")[0]
    return a == b or (bool(b) and above_b == a) or (bool(a) and above_a in (b, above_b))


def _candidate(layout: Layout, synthesis: _Part, mapping: _Part | None, tables: Sequence[Table]) -> Candidate:
    values, modules = _values(layout, synthesis, mapping), synthesis.modules(layout.synthesis_prefix)
    if mapping is not None:
        modules |= mapping.modules(layout.mapping_prefix)
    paths = [part.path for part in (mapping, synthesis) if part is not None]
    mark = synthesis.table.values[joined(synthesis.path, layout.synthesis_mark)]
    average = _average(tables, [*paths, *_above(synthesis.path)])
    place, has_mapping = _common(paths), mapping is not None
    return Candidate(layout, synthesis.path, place, mark, values, modules, has_mapping, average)


def _values(layout: Layout, synthesis: _Part, mapping: _Part | None) -> dict[str, Any]:
    """The entries of both parts by the layout's names, but for average latents."""
    values: dict[str, Any] = {}
    taken: set[str] = set()
    if mapping is not None:
        for full, name in mapping.names(mapping.table.values):
            if name.startswith(layout.mapping_names):
                values[layout.mapping_prefix + name] = mapping.table.values[full]
                taken.add(full)
    shared = taken if mapping is not None and mapping.table is synthesis.table else set()
    for full, name in synthesis.names(synthesis.table.values):
        if full not in shared:
            values[layout.synthesis_prefix + name] = synthesis.table.values[full]
    averages = {
        prefix + name for prefix in (layout.mapping_prefix, layout.synthesis_prefix) for name in AVERAGE_NAMES
    }
    return {name: value for name, value in values.items() if name not in averages}


def _common(paths: Sequence[str]) -> str:
    """What the paths begin with, as whole parts and without wrappers."""
    split = [without_wrappers(path).split(".") for path in paths]
    same = takewhile(lambda parts: len(set(parts)) == 1, zip(*split, strict=False))
    return ".".join(parts[0] for parts in same)


def _above(path: str) -> Iterator[str]:
    """The paths around a path, the nearest first."""
    while path:
        path = path.rpartition(".")[0]
        yield path


def _average(tables: Sequence[Table], paths: Iterable[str]) -> tuple[str, Any] | None:
    """Name and value of the average latent at the first of the paths that has one."""
    for name in (joined(path, average) for path in paths for average in AVERAGE_NAMES):
        for table in tables:
            if table.values.get(name) is not None:
                return name, table.values[name]
    return None


def _is_weight(value: Any) -> bool:
    return isinstance(value, (StoredTensor, Tensor, np.ndarray)) and tensor_shape(value) is not None
