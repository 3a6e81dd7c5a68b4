"""The inert values that the content of a pickle becomes, and the errors for a pickle that is refused.

None of these runs or imports anything. A `Record` only keeps what a file says of an instance. This module
does not know opcodes, which names are allowed, or what a generator is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

_SMALL_ELEMENTS = 1 << 16
_MAX_DIMENSIONS = 32
_MAX_SIDE = 1 << 40
SHOWN_CHARACTERS = 100


class UnsafePickle(Exception):
    """A pickle asks for something that rebuilding data does not need; nothing of it was carried out.

    `name` is the offending global, such as ``os.system``.
    """

    def __init__(self, name: str) -> None:
        self.name = name[:SHOWN_CHARACTERS]
        super().__init__(self.name)


class BadPickle(Exception):
    """A pickle or its container is damaged, or holds what is not supported; the message says which."""


class OtherArchive(BadPickle):
    """An archive that is whole but no checkpoint; the message says what it is and what to do."""


@dataclass(frozen=True)
class Global:
    """The name of a class or function, never the thing itself."""

    module: str
    name: str

    @cached_property
    def dotted(self) -> str:
        """Module and name, put together once: a file may mention one name any number of times."""
        return f"{self.module}.{self.name}"

    def __str__(self) -> str:
        return self.dotted


@dataclass(eq=False, repr=False)
class Record:
    """Inert stand-in for an instance of a class that is not rebuilt; compared by identity."""

    module: str
    name: str
    args: tuple[Any, ...] = ()
    """What the constructor would have been given, by position."""
    state: Any = None
    """What ``__setstate__`` would have been given, usually the instance's attributes as a dict."""
    items: dict[Any, Any] | list[Any] = field(default_factory=dict)
    """Entries of an instance that is a dict or a list."""
    keywords: Any = None
    """What the constructor would have been given by name, where there was any."""

    def get(self, key: str, default: Any = None) -> Any:
        """The entry `key`, else the attribute `key`, else `default`."""
        for held in (self.items, self.state):
            if isinstance(held, dict) and key in held:
                return held[key]
        return default

    def __repr__(self) -> str:
        return f"Record({self.module}.{self.name})"


@dataclass(eq=False, repr=False)
class Storage:
    """A run of elements that tensors look into. Its bytes are read when a tensor first needs them."""

    dtype: torch.dtype
    num_bytes: int
    read: Callable[[], bytes | bytearray | memoryview]
    """Gives exactly `num_bytes` bytes, or raises."""
    swap_bytes: bool = False
    """True where the file has the other byte order than this machine."""

    @cached_property
    def octets(self) -> Tensor:
        """(num_bytes,) uint8, in this machine's byte order."""
        found = bytearray(self.read())
        if len(found) != self.num_bytes:
            raise BadPickle(f"a tensor's storage holds {len(found)} bytes, expected {self.num_bytes}")
        if not found:
            return torch.empty(0, dtype=torch.uint8)  # `frombuffer` refuses an empty buffer
        octets = torch.frombuffer(found, dtype=torch.uint8)
        if self.swap_bytes and self.dtype.itemsize > 1:
            parts = 2 if self.dtype.is_complex else 1
            octets = octets.view(-1, self.dtype.itemsize // parts).flip(1).flatten()
        return octets

    def __repr__(self) -> str:
        return f"Storage({self.dtype}, {self.num_bytes} bytes)"


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor of a file, not read yet. Parameters are the same."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    """In elements, as `offset` is."""
    offset: int
    storage: Storage = field(repr=False)

    def __post_init__(self) -> None:
        """Raises BadPickle unless every element lies within the storage."""
        if len(self.shape) != len(self.stride) or len(self.shape) > _MAX_DIMENSIONS:
            raise BadPickle(f"a tensor has {len(self.shape)} sides and {len(self.stride)} strides")
        if not all(0 <= n < _MAX_SIDE for n in (*self.shape, *self.stride, self.offset)):
            raise BadPickle("a tensor's shape, strides or offset are negative or beyond any real tensor's")
        held = self.storage.num_bytes // self.dtype.itemsize
        num_elements = num_elements_of(self.shape)
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))
        if num_elements and last >= held:
            raise BadPickle(
                f"a tensor of shape {self.shape} needs {last + 1} elements, its storage has {held}"
            )
        if num_elements > max(held, _SMALL_ELEMENTS):  # zero strides make a huge tensor of a few bytes
            raise BadPickle(f"a tensor of shape {self.shape} repeats {held} elements {num_elements} times")

    def tensor(self) -> Tensor:
        """The tensor on the CPU, reading its bytes: a view of the storage, which tensors may share.

        Raises BadPickle (for a checkpoint, UsageError) when the bytes are damaged.
        """
        if not num_elements_of(self.shape):
            return torch.empty(self.shape, dtype=self.dtype)
        octets = self.storage.octets
        whole = octets.numel() - octets.numel() % self.dtype.itemsize
        return octets[:whole].view(self.dtype).as_strided(self.shape, self.stride, self.offset)


def num_elements_of(shape: tuple[int, ...]) -> int:
    """The product of a shape's sides, exactly (Python's integers do not wrap)."""
    count = 1
    for side in shape:
        count *= side
    return count
