"""Checks the values of a JSON document, and names wrong ones by their key; makes the text of one.

A check takes a value and the key that it stands under, and returns the value to keep. For a wrong value it
raises ValueError, or StoreError where `fstore.values` checks it, with one sentence. Checks are put together
of others. This module knows no files, and not what the values mean.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from fstore import values
from pipeline.errors import short

Check = Callable[[Any, str], Any]


def json_text(value: Any, indent: int | None = None) -> str:
    """The JSON text of a document, and a line break; UTF-8 can hold it. Raises ValueError for NaN.

    Letters stand as they are. Where a name is not UTF-8, as paths on Linux may be, all but ASCII is escaped.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent, allow_nan=False) + "\n"
    return text


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
    return lambda value, key: values.integer(key, value, low, high)


def number(value: Any, key: str) -> float:
    """A finite number."""
    return float(values.number(key, value))


def text(value: Any, key: str) -> str:
    """Text that can be written as UTF-8."""
    return values.text(key, value)


def color(value: Any, key: str) -> str:
    """A colour ``#rrggbb``."""
    return values.color(key, value)


def flag(value: Any, key: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{key} is {short(value)}: expected true or false")
    return value


def one_of(*words: str) -> Check:
    """One of these texts."""
    return lambda value, key: values.choice(key, value, words)


def optional(check: Check) -> Check:
    """Null, or what ``check`` accepts."""
    return lambda value, key: None if value is None else check(value, key)


def items(check: Check, length: int | None = None) -> Check:
    """A list of values, as a tuple; of ``length`` values where that is given."""

    def check_items(value: Any, key: str) -> tuple[Any, ...]:
        found = values.items(key, value, length)
        return tuple(check(item, f"{key}[{i}]") for i, item in enumerate(found))

    return check_items


def mapping(known: Mapping[str, Check] | None = None) -> Check:
    """An object; the ``known`` keys of it, where they are there, must pass their checks."""

    def check(value: Any, key: str) -> dict[str, Any]:
        checks = known or {}
        found = values.record(key, value)
        return {k: checks[k](v, f"{key}.{k}") if k in checks else v for k, v in found.items()}

    return check


def record(
    make: Callable[..., Any], required: Mapping[str, Check], more: Mapping[str, Check] | None = None
) -> Check:
    """What ``make`` builds of an object with all ``required`` keys, perhaps some ``more``, and no other."""

    def check(value: Any, key: str) -> Any:
        found = values.record(key, value)
        checks = {**required, **(more or {})}
        name = f"{key}." if key else ""
        for missing in required.keys() - found.keys():
            raise ValueError(f"{name}{missing} is missing")
        for unknown in found.keys() - checks.keys():
            raise ValueError(f"{name}{short(unknown)} is no key of the format")
        return make(**{k: checks[k](v, name + k) for k, v in found.items()})

    return check


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{short(text)} is no finite number")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")
