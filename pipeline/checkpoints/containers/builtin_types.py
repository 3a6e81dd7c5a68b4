"""Plain containers, numbers, text and bytes as pickles construct them by calling Python's own classes.

They are made only of arguments that are already in memory: ``bytearray(10**12)`` is refused, and nothing is
allocated for it. This module does not know opcodes, nor which names are allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.checkpoints.containers.inert_values import BadPickle
from pipeline.checkpoints.containers.limits import checked_key

_MAX_DIGITS = 512


def pairs_to_dict(*args: Any) -> dict[Any, Any]:
    """``OrderedDict()``, ``dict(pairs)``."""
    if not args:
        return {}
    (pairs,) = args
    pairs = list(pairs.items()) if isinstance(pairs, dict) else elements(pairs)
    if not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in pairs):
        raise BadPickle("a dict is not made of pairs")
    return {checked_key(key): value for key, value in pairs}


def elements(*args: Any) -> list[Any]:
    """The argument of ``list(x)``, ``tuple(x)``, ``set(x)``, ``torch.Size(x)`` as a new list."""
    if len(args) > 1 or not all(type(arg) in (list, tuple, set, frozenset, dict) for arg in args):
        raise BadPickle("a container is not made of one container's elements")
    return list(*args)


def number(kind: type) -> Callable[..., Any]:
    """``int(...)``, ``float(...)``, ``bool(...)``, ``complex(...)``."""

    def rebuild(*args: Any) -> Any:
        if len(args) > 2 or not all(type(arg) in (int, float, bool, str) for arg in args):
            raise BadPickle(f"a {kind.__name__} is not made of numbers")
        if any(isinstance(arg, str) and len(arg) > _MAX_DIGITS for arg in args):
            raise BadPickle(f"a {kind.__name__} has too many digits")
        return kind(*args)

    return rebuild


def encoded(text: Any, encoding: Any = None) -> bytes:
    """``_codecs.encode(text, "latin1")``: how protocols 0 to 2 of Python 3 write bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise BadPickle("it encodes something other than bytes written as latin1 text")
    return text.encode("latin-1")


def plain_bytes(*args: Any) -> bytes:
    """``bytes()`` and ``bytearray(b"...")``; never a number of bytes to allocate."""
    if not args:
        return b""
    if len(args) == 2:
        return encoded(*args)
    if len(args) != 1 or type(args[0]) not in (bytes, bytearray):
        raise BadPickle("bytes are not made of bytes")
    return bytes(args[0])


def plain_text(text: Any = "") -> str:
    """``str(text)``."""
    if type(text) is not str:
        raise BadPickle("text is not made of text")
    return text


def plain_slice(*args: Any) -> slice:
    """``slice(start, stop, step)``."""
    if not (1 <= len(args) <= 3 and all(type(arg) in (int, type(None)) for arg in args)):
        raise BadPickle("a slice is not made of whole numbers")
    return slice(*args)
