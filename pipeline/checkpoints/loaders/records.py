"""Reads the plain containers and inert records of a file: entries, modules, and what to call a value.

Contents come from `pipeline.checkpoints.containers.checkpoint_file`, and nothing in them is trusted. This
module knows no architecture. Every fault is a ValueError.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from pipeline.checkpoints.containers.inert_values import Record, StoredTensor
from pipeline.checkpoints.loaders.budget import Budget
from pipeline.errors import cut, short

MAX_DEPTH = 8
"""Levels of modules in modules."""


def fields(value: Any) -> Mapping[str, Any]:
    """Entries of a dict, or of a record that stands for a dict or for an object; empty for anything else."""
    if isinstance(value, Record):
        value = value.items if isinstance(value.items, Mapping) and value.items else value.state
    return value if isinstance(value, Mapping) else {}


def named(value: Any, budget: Budget) -> Iterator[tuple[str, Any]]:
    """The entries of `fields` whose keys are texts: no other key is of a network."""
    budget.spend_entries(len(fields(value)))
    return ((key, entry) for key, entry in fields(value).items() if isinstance(key, str))


@dataclass(frozen=True)
class Module:
    """A pickled `torch.nn.Module`: its class's name and its attributes."""

    class_name: str
    attributes: Mapping[str, Any]

    def children(self, budget: Budget) -> dict[str, Module]:
        """Direct submodules by name."""
        found = {name: as_module(value) for name, value in named(self.attributes["_modules"], budget)}
        return {name: module for name, module in found.items() if module is not None}

    def tensors(self, budget: Budget) -> dict[str, Any]:
        """Its own parameters and buffers, unread."""
        groups = (named(self.attributes.get(group), budget) for group in ("_parameters", "_buffers"))
        return {name: value for group in groups for name, value in group if value is not None}


def as_module(value: Any) -> Module | None:
    """The module that a record stands for, also one of NVIDIA's "persistent" ones; None for anything else."""
    if not isinstance(value, Record):
        return None
    name, state = value.name, fields(value.state)
    if name == "_reconstruct_persistent_obj" and value.args:
        meta = fields(value.args[0])
        name, state = text_of(meta.get("class_name")).strip("'"), fields(meta.get("state"))
    return Module(name, state) if "_modules" in state else None


def walk(module: Module, budget: Budget) -> dict[str, Module]:
    """Every submodule by its dotted path, the module itself by ""."""
    found: dict[str, Module] = {}
    queue = [("", module, 0)]
    while queue:
        path, current, depth = queue.pop()
        found[path] = current
        if depth > MAX_DEPTH:
            raise ValueError(f"the network has modules in more than {MAX_DEPTH} levels")
        children = current.children(budget)
        queue += [(joined(path, name), child, depth + 1) for name, child in children.items()]
    return found


def tensors_of(modules: Mapping[str, Module], budget: Budget) -> dict[str, Any]:
    """The parameters and buffers of modules, unread, by their dotted paths."""
    return {
        joined(path, name): tensor
        for path, module in modules.items()
        for name, tensor in module.tensors(budget).items()
    }


def joined(path: str, name: str) -> str:
    """A dotted path and one more name."""
    return f"{path}.{name}" if path and name else path or name


def class_name(value: Record) -> str:
    """Name of the class that a record stands for, with its module where that says more."""
    module = as_module(value)
    if value.name == "_reconstruct_persistent_obj" and module is not None:
        return module.class_name
    return f"{value.module}.{value.name}"


def kind_of(value: Any) -> str:
    """What a value is, in a word or two, for an error."""
    if isinstance(value, (StoredTensor, Tensor, np.ndarray)):
        return f"dtype {value.dtype}"
    if isinstance(value, Record):
        return f"an object of class {short(class_name(value))}"
    return type(value).__name__


def text_of(value: Any) -> str:
    """A short representation for an error; of containers and records only what they are."""
    scalar = isinstance(value, (str, int, float, bool, type(None)))
    return short(value) if scalar else cut(kind_of(value))
