"""What reading one pickle file may cost: operations, copied bytes, nesting, and which keys may be hashed.

A few forged bytes can ask for gigabytes or for hours. These bounds are far above what real checkpoints need.
This module does not know opcodes or names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.checkpoints.containers.inert_values import BadPickle, Global, Record, StoredTensor

MAX_OPERATIONS = 1_000_000
MAX_ARGUMENTS = 64
MAX_NAME = 256
"""Characters of a module's or a class's name."""
_MAX_NESTING = 4
_MAX_INTEGER_BITS = 2048
_MAX_KEY_BITS = 64
_MAX_KEY_PARTS = 16
_UNHASHABLE = (list, dict, set, bytearray, slice, np.ndarray)
_BYTES_PER_ELEMENT: dict[type, int] = {
    list: 64,
    tuple: 64,
    dict: 128,
    set: 64,
    frozenset: 64,
    str: 1,
    bytes: 1,
    bytearray: 1,
}


@dataclass
class Allowance:
    """What reading one file may still cost, pickles inside it included."""

    operations: int
    copied_bytes: int
    nesting: int = _MAX_NESTING

    @classmethod
    def of(cls, num_bytes: int) -> Allowance:
        """For a file of `num_bytes`: real ones copy each byte two or three times at most."""
        return cls(MAX_OPERATIONS, 4 * num_bytes + (1 << 20))

    def spend_operation(self) -> None:
        self.operations -= 1
        if self.operations < 0:
            raise BadPickle(
                f"it has more than {MAX_OPERATIONS:,} operations, a generator has some ten thousand"
            )

    def spend_bytes(self, num_bytes: int) -> None:
        self.copied_bytes -= num_bytes
        if self.copied_bytes < 0:
            raise BadPickle("it unfolds to far more bytes than it holds")

    def spend_copies(self, values: tuple[Any, ...]) -> None:
        """The cost of copying containers, text and bytes among `values`, not what they contain."""
        sized = [value for value in values if type(value) in _BYTES_PER_ELEMENT]
        self.spend_bytes(sum(len(value) * _BYTES_PER_ELEMENT[type(value)] for value in sized))


def bounded_integer(value: Any) -> Any:
    """`value`, unless it is a whole number that nobody could print."""
    if isinstance(value, int) and value.bit_length() > _MAX_INTEGER_BITS:
        raise BadPickle(f"it has a whole number of {value.bit_length()} bits")
    return value


def checked_key(key: Any) -> Any:
    """`key` where hashing is cheap and the hash cannot be chosen; else a `Record` of it, hashed by identity.

    Hashing a deep tuple overflows the stack, a self-doubling one does not end, and tuples of numbers can be
    made that share one hash, which makes a dict of them quadratic. Raises BadPickle for what has no hash.
    """
    if isinstance(key, (str, bytes, float, Global, Record, StoredTensor, type(None))):
        return key
    if isinstance(key, int) and key.bit_length() <= _MAX_KEY_BITS:
        return key
    if isinstance(key, tuple) and len(key) <= _MAX_KEY_PARTS and all(type(part) is str for part in key):
        return key
    if isinstance(key, _UNHASHABLE):
        raise BadPickle(f"a dict or set has a key of {type(key).__name__}, expected names or numbers")
    return Record("builtins", type(key).__name__, (key,))
