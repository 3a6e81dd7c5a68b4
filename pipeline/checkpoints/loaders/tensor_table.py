"""Takes tensors and numbers out of what a file held, each checked before it is used.

It knows no architecture. Every fault is a ValueError that names the entry.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.checkpoints.containers.inert_values import StoredTensor
from pipeline.checkpoints.loaders.budget import Budget
from pipeline.checkpoints.loaders.records import kind_of, text_of
from pipeline.errors import short
from pipeline.models.tensors import UnsupportedNetwork, are_finite, fits, sides_text

MAX_ELEMENTS = 2**26
"""Of one tensor: 16 times the largest of a 1024 px generator."""
MAX_NUMBER = 1e30
MAX_TENSORS = 2000
"""Of one network; a generator has some hundred."""


class TensorTable:
    """Named tensors of a file. It keeps which were taken, so that none is overlooked.

    Raises ValueError for more than `MAX_TENSORS`.
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

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of the tensor `name`, unread. ValueError unless it is there and of floating-point numbers."""
        if name not in self._values:
            raise ValueError(f"missing key {short(name)}")
        found = tensor_shape(self._values[name])
        if found is None:
            found_kind = kind_of(self._values[name])
            raise ValueError(f"key {short(name)} holds {found_kind}, expected a floating-point tensor")
        return found

    def take(self, name: str, shape: tuple[int | None, ...] | None = None) -> Tensor:
        """The float32 tensor `name`. Raises ValueError when it is missing, no floating-point tensor, not of
        `shape` (None: any length), larger than any real one, or not finite.
        """
        found = self.shape(name)
        self._left.pop(name, None)
        if shape is not None and not fits(found, shape):
            raise ValueError(f"key {short(name)} has shape {found}, expected ({sides_text(shape)})")
        if 0 in found:
            raise ValueError(f"key {short(name)} has shape {found}, expected no side of length 0")
        if math.prod(found) > MAX_ELEMENTS:
            raise ValueError(
                f"key {short(name)} has {math.prod(found)} elements, expected at most {MAX_ELEMENTS}"
            )
        self._budget.spend_elements(math.prod(found))
        tensor = float_tensor(self._values[name])
        if not are_finite(tensor):
            raise ValueError(f"key {short(name)} has NaN or infinite values, expected finite ones")
        return tensor

    def number(self, name: str) -> Tensor:
        """The float32 scalar tensor [] `name`, stored with any number of axes of length 1."""
        tensor = self.take(name)
        if tensor.numel() != 1:
            raise ValueError(f"key {short(name)} has shape {tuple(tensor.shape)}, expected one number")
        return tensor.reshape(())

    def count(self, names: Iterable[str]) -> int:
        """How many of `names` there are before the first that is missing."""
        return sum(1 for _ in takewhile(self.__contains__, names))

    def check_all_taken(self, ignored: Callable[[str], bool] = lambda name: False) -> None:
        """UnsupportedNetwork naming the first entry that was neither taken nor is `ignored`: no damage adds
        one.
        """
        unknown = sorted(name for name in self._left if not ignored(name))
        if unknown:
            raise UnsupportedNetwork(
                f"unknown key {short(unknown[0])} ({len(unknown)} unknown in all): the network has more than "
                "a generator of this kind, and a changed one is not supported; if it works without them, "
                "save it so"
            )


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


def real_number(value: Any, name: str) -> float:
    """A finite number that a file states. ValueError naming it otherwise."""
    is_number = isinstance(value, (int, float, np.integer, np.floating))
    if is_number and abs(value) <= MAX_NUMBER:  # which neither NaN nor infinity is, nor an int beyond floats
        return float(value)
    raise ValueError(f"{name} is {text_of(value)}, expected a finite number")
