"""Takes tensors, numbers and modules out of what a foreign file held, checking each.

Contents are plain containers, stored tensors and inert records (see
`pipeline.checkpoints.containers.content`): nothing in them is to be believed. It knows no
architecture. Every fault is a ValueError that names the entry.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.checkpoints.containers.pickles import Record, StoredTensor
from pipeline.errors import cut, short
from pipeline.models.generator import Generator
from pipeline.models.tensors import fits, sides_text

MAX_ELEMENTS = 2**26
"""Of one tensor: 16 times the largest of a 1024 px generator."""
MAX_NUMBER = 1e30
MAX_TENSORS = 2000
"""Of one network; a generator has some hundred."""
MAX_DEPTH = 8
MAX_CANDIDATES = 64


@dataclass
class Budget:
    """What looking into one file's content may still cost.

    A few bytes of a file can refer to one large thing any number of times, so that neither the file's size
    nor the largest thing in it bounds the work.
    """

    entries: int = 20_000
    """Of dicts and lists."""
    elements: int = 2**27
    """Of tensors: four times those of the largest generator of 1024 px."""

    def spend_entries(self, count: int) -> None:
        self.entries -= count
        if self.entries < 0:
            raise ValueError("it refers to many more tensors and modules than any generator has")

    def spend_elements(self, count: int) -> None:
        self.elements -= count
        if self.elements < 0:
            raise ValueError("its tensors have many more elements than those of any generator")


@dataclass(frozen=True)
class FoundNetwork:
    """A generator as a loader built it."""

    generator: Generator
    format: str
    """Short name of the file's format, for people."""
    average_latent: np.ndarray | None = None
    """(D,) float32 in W, where the file has one."""


class TensorTable:
    """Named tensors of a file; keeps which were taken, so that none is overlooked.

    Made of more than `MAX_TENSORS` it raises ValueError.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._budget = Budget(entries=MAX_TENSORS)
        self._budget.spend_entries(len(values))
        self._values = dict(values)
        self._left = dict.fromkeys(self._values)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def take(self, name: str, shape: tuple[int | None, ...] | None = None) -> Tensor:
        """The float32 tensor `name`. Raises ValueError when it is missing, no floating-point tensor, not of
        `shape` (None: any length), larger than any real one, or not finite.
        """
        if name not in self._values:
            raise ValueError(f"missing key {name!r}")
        self._left.pop(name, None)
        value = self._values[name]
        found = tensor_shape(value)
        if found is None:
            raise ValueError(f"key {name!r} holds {kind_of(value)}, expected a floating-point tensor")
        if shape is not None and not fits(found, shape):
            raise ValueError(f"key {name!r} has shape {found}, expected ({sides_text(shape)})")
        if 0 in found:
            raise ValueError(f"key {name!r} has shape {found}, expected no side of length 0")
        if math.prod(found) > MAX_ELEMENTS:
            raise ValueError(f"key {name!r} has {math.prod(found)} elements, expected at most {MAX_ELEMENTS}")
        self._budget.spend_elements(math.prod(found))
        tensor = float_tensor(value)
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"key {name!r} has NaN or infinite values, expected finite ones")
        return tensor

    def number(self, name: str) -> Tensor:
        """The float32 scalar tensor [] `name`, stored with any number of axes of length 1."""
        tensor = self.take(name)
        if tensor.numel() != 1:
            raise ValueError(f"key {name!r} has shape {tuple(tensor.shape)}, expected one number")
        return tensor.reshape(())

    def count(self, names: Iterable[str]) -> int:
        """How many of `names` there are before the first that is missing."""
        return sum(1 for _ in takewhile(self.__contains__, names))

    def check_all_taken(self, ignored: Callable[[str], bool]) -> None:
        """ValueError naming the first entry that was neither taken nor is `ignored`."""
        unknown = sorted(name for name in self._left if not ignored(name))
        if unknown:
            raise ValueError(f"unknown key {unknown[0]!r} ({len(unknown)} unknown in all)")


def tensor_shape(value: Any) -> tuple[int, ...] | None:
    """Shape of a floating-point tensor, array or number; None for anything else."""
    if isinstance(value, (StoredTensor, Tensor)):
        return tuple(value.shape) if value.dtype.is_floating_point else None
    if isinstance(value, (np.ndarray, np.floating)):
        return tuple(value.shape) if value.dtype.kind == "f" else None
    return () if isinstance(value, float) else None


def float_tensor(value: Any) -> Tensor:
    """A float32 tensor of its own of what `tensor_shape` has a shape for."""
    if isinstance(value, StoredTensor):
        value = value.tensor()
    if isinstance(value, Tensor):
        return value.detach().to(torch.float32).clone(memory_format=torch.contiguous_format)
    return torch.from_numpy(np.array(value, dtype=np.float32, order="C"))


def kind_of(value: Any) -> str:
    """What a value is, in a word or two, for an error."""
    if isinstance(value, (StoredTensor, Tensor)):
        return f"dtype {value.dtype}"
    if isinstance(value, np.ndarray):
        return f"dtype {value.dtype}"
    if isinstance(value, Record):
        return f"an object of class {class_name(value)!r}"
    return type(value).__name__


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
        queue += [(f"{path}.{name}".lstrip("."), child, depth + 1) for name, child in children.items()]
    return found


def tensors_of(modules: Mapping[str, Module], budget: Budget) -> dict[str, Any]:
    """The parameters and buffers of modules, unread, by their dotted paths."""
    return {
        f"{path}.{name}".lstrip("."): tensor
        for path, module in modules.items()
        for name, tensor in module.tensors(budget).items()
    }


def class_name(value: Record) -> str:
    """Name of the class that a record stands for, with its module where that says more."""
    module = as_module(value)
    if value.name == "_reconstruct_persistent_obj" and module is not None:
        return module.class_name
    return f"{value.module}.{value.name}"


def candidates(content: Any, preferred: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """What may be a network, with its key: `content`, then what it holds, under keys of `preferred` first."""
    yield "", content
    entries = fields(content)
    keys = [key for key in preferred if key in entries]
    keys += [key for key in islice(entries, MAX_CANDIDATES) if isinstance(key, str) and key not in preferred]
    for key in keys:
        yield key, entries[key]


def state_dict(value: Any, budget: Budget) -> dict[str, Any]:
    """The entries of a dict that may be a state dict, or a module's; prefixes ``module.`` are taken off.

    Empty for anything else, and for what is too large or too deep for a generator: the labels of a data set,
    say, or a pickled network that training needed besides.
    """
    found: Iterable[tuple[str, Any]]
    module = as_module(value)
    if module is None:
        found = named(value, budget) if len(fields(value)) <= budget.entries else ()
    else:
        try:
            found = tensors_of(walk(module, budget), budget).items()
        except ValueError:
            return {}
    return {name.removeprefix("module."): entry for name, entry in found}


def shown_key(key: str, preferred: tuple[str, ...]) -> str:
    """The key under which a network stood, for people: escaped where it is none of `preferred`."""
    return key if key in preferred else text_of(key)


def real_number(value: Any, name: str) -> float:
    """A finite number that a file states. ValueError naming it otherwise."""
    is_number = isinstance(value, (int, float, np.integer, np.floating))
    if is_number and abs(value) <= MAX_NUMBER:  # which neither NaN nor infinity is, nor an int beyond floats
        return float(value)
    raise ValueError(f"{name} is {text_of(value)}, expected a finite number")


def text_of(value: Any) -> str:
    """A short representation for an error; of containers and records only what they are."""
    scalar = isinstance(value, (str, int, float, bool, type(None)))
    return short(value) if scalar else cut(kind_of(value))
