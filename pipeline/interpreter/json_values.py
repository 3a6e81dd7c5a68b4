"""Values of a JSON document, each checked where it is read: wrong ones are named by their key.

A check takes a value and the key that it stands under, and returns the value to keep. It raises ValueError
with one sentence. It knows no files and no interpreter.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.errors import short

Check = Callable[[Any, str], Any]


def parse_object(text: str | bytes) -> dict[str, Any]:
    """The JSON object that a text, or its UTF-8 bytes, holds. Raises ValueError for anything else.

    NaN, infinities and numbers that become one are refused, because the format knows none.
    """
    try:
        content = text.decode("utf-8") if isinstance(text, bytes) else text
        value = json.loads(content, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text: byte {error.start}") from None
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return value


def integer(low: int, high: int = 2**63 - 1) -> Check:
    """A whole number from ``low`` to ``high``."""

    def check(value: Any, key: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise _unexpected(value, key, f"an integer from {low} to {high}")
        return value

    return check


def number(value: Any, key: str) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _unexpected(value, key, "a number")
    try:
        found = float(value)
    except OverflowError:
        raise _unexpected(value, key, "a number that a float can hold") from None
    return found


def text(value: Any, key: str) -> str:
    """Text of any kind."""
    if not isinstance(value, str):
        raise _unexpected(value, key, "text")
    return value


def color(value: Any, key: str) -> str:
    """A colour ``#rrggbb``."""
    if not isinstance(value, str) or re.fullmatch(r"#[0-9A-Fa-f]{6}", value) is None:
        raise _unexpected(value, key, "a colour #rrggbb")
    return value


def flag(value: Any, key: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise _unexpected(value, key, "true or false")
    return value


def one_of(*words: str) -> Check:
    """One of these texts."""

    def check(value: Any, key: str) -> str:
        if not isinstance(value, str) or value not in words:
            raise _unexpected(value, key, f"one of {', '.join(words)}")
        return value

    return check


def optional(check: Check) -> Check:
    """Null, or what ``check`` accepts."""
    return lambda value, key: None if value is None else check(value, key)


def items(check: Check, length: int | None = None) -> Check:
    """A list of values, as a tuple; of ``length`` values where that is given."""

    def check_items(value: Any, key: str) -> tuple[Any, ...]:
        if not isinstance(value, list) or length not in (None, len(value)):
            raise _unexpected(value, key, "a list" if length is None else f"a list of {length}")
        return tuple(check(item, f"{key}[{i}]") for i, item in enumerate(value))

    return check_items


def mapping(known: Mapping[str, Check] | None = None) -> Check:
    """An object; the ``known`` keys of it, where they are there, must pass their checks."""

    def check(value: Any, key: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _unexpected(value, key, "an object")
        checks = known or {}
        return {k: checks[k](v, f"{key}.{k}") if k in checks else v for k, v in value.items()}

    return check


def record(
    make: Callable[..., Any], required: Mapping[str, Check], more: Mapping[str, Check] | None = None
) -> Check:
    """What ``make`` builds of an object with all ``required`` keys, perhaps some ``more``, and no other."""

    def check(value: Any, key: str) -> Any:
        if not isinstance(value, dict):
            raise _unexpected(value, key, "an object")
        checks = {**required, **(more or {})}
        name = f"{key}." if key else ""
        for missing in required.keys() - value.keys():
            raise ValueError(f"{name}{missing} is missing")
        for unknown in value.keys() - checks.keys():
            raise ValueError(f"{name}{short(unknown)} is no key of the format")
        return make(**{k: checks[k](v, name + k) for k, v in value.items()})

    return check


def _unexpected(value: Any, key: str, expected: str) -> ValueError:
    return ValueError(f"{key} is {short(_bounded(value))}, expected {expected}")


def _bounded(value: Any) -> Any:
    """The value, or words for an integer that Python refuses to write, for it has too many digits."""
    huge = isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**60
    return "an integer of more than 60 digits" if huge else value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{short(text)} is no finite number")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")
