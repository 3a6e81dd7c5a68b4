"""Checks of values read from JSON: each returns the value, or raises a StoreError that names it.

Pure. JSON has no schema, and a damaged or hand-made file may hold anything, so every value is checked here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from math import isfinite
from typing import Any

from fstore.errors import StoreError

_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
LARGEST_NUMBER = 2**63 - 1  # of an image: what int64 holds
_DEPTH = 32  # of objects and lists in one another; Python's recursion ends at about 1000


def integer(name: str, value: Any, lowest: int, highest: int) -> int:
    """An integer from ``lowest`` to ``highest``. True and false are not integers here."""
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise StoreError(f"{name} is {short(value)}: expected an integer from {lowest} to {highest}")
    return value


def number(name: str, value: Any) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        raise StoreError(f"{name} is {short(value)}: expected a number")
    return value


def flag(name: str, value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise StoreError(f"{name} is {short(value)}: expected true or false")
    return value


def text(name: str, value: Any) -> str:
    """Text that can be written as UTF-8."""
    if not isinstance(value, str) or not _is_unicode(value):
        raise StoreError(f"{name} is {short(value)}: expected text")
    return value


def part_of_path(name: str, value: Any) -> str:
    """Text that can be a part of a file's name."""
    if not text(name, value) or len(value.encode()) > 200 or re.search(r"[/\\\x00-\x1f]", value):
        raise StoreError(f"{name} is {short(value)}: expected text of up to 200 bytes without '/' and '\\'")
    return value


def color(name: str, value: Any) -> str:
    """A colour as ``#rrggbb``."""
    if not isinstance(value, str) or not _COLOR.fullmatch(value):
        raise StoreError(f"{name} is {short(value)}: expected a colour such as '#00ff7f'")
    return value


def choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """One of ``choices``."""
    if value not in choices:
        import difflib  # seldom needed, and slow to load

        near = difflib.get_close_matches(value[:100], choices, 1) if isinstance(value, str) else []
        raise StoreError(f"{name} is {short(value)}: expected one of {', '.join(near or choices)}")
    return str(value)


def items(name: str, value: Any, count: int | None = None) -> Sequence[Any]:
    """A list, of ``count`` items where that is given."""
    if not isinstance(value, list | tuple) or count not in (None, len(value)):
        raise StoreError(f"{name} is {short(value)}: expected a list" + (f" of {count}" if count else ""))
    return value


def image_numbers(name: str, value: Any, num_images: int) -> tuple[int, ...]:
    """The numbers of images, at their places: no two are equal. There may be more than ``num_images``."""
    found = items(name, value)
    places: dict[int, int] = {}
    for place, each in enumerate(found):
        checked = integer(f"{name}[{place}]", each, 0, LARGEST_NUMBER)
        if places.setdefault(checked, place) != place:
            raise StoreError(
                f"{name} is {short(value)}: {checked} stands at {places[checked]} and {place}, expected "
                "another number for each image"
            )
    if len(found) < num_images:
        raise StoreError(f"{name} is {short(value)}: expected a number for each of {num_images} images")
    return tuple(found)


def record(name: str, value: Any) -> Mapping[str, Any]:
    """A JSON object, not nested without end."""
    if not isinstance(value, Mapping):
        raise StoreError(f"{name} is {short(value)}: expected an object")
    level: list[Any] = [value]
    for _ in range(_DEPTH):
        level = [child for node in level for child in _children(node)]
    if level:
        raise StoreError(f"{name} is nested deeper than {_DEPTH} levels")
    return value


def finite(name: str, value: Any) -> Any:
    """Values without NaN and infinities, which Python reads and writes in JSON, and other programs do not."""
    if isinstance(value, float) and not isfinite(value):
        raise StoreError(f"{name} is {short(value)}: expected a finite number")
    if isinstance(value, Mapping):
        for key, child in value.items():
            finite(f"{name}.{key}", child)
    elif isinstance(value, list | tuple):
        for place, child in enumerate(value):
            finite(f"{name}[{place}]", child)
    return value


def keep_fraction(value: Any) -> Fraction:
    """The share of images that a filter keeps, exactly as its text says: ``"0.07"`` is 7/100.

    Raises StoreError unless it is decimal text of a number over 0 and up to 1.
    """
    # Length and exponent are bounded: Fraction(Decimal("1e-999999999")) would not end.
    is_short = isinstance(value, str) and len(value) <= 64
    written = value if is_short and value.isascii() and "_" not in value else ""
    try:
        decimal = Decimal(written)
    except InvalidOperation:
        decimal = Decimal(0)
    if not decimal.is_finite() or not 0 < decimal <= 1 or decimal.adjusted() < -64:
        raise StoreError(f"keep is {short(value)}: expected decimal text over 0 and up to 1, such as '0.9'")
    return Fraction(decimal)


def short(value: Any, limit: int = 60) -> str:
    """A value for a message; long ones are cut."""
    try:
        shown = repr(value)
    except (RecursionError, ValueError):  # nested too deeply, or an integer of thousands of digits
        return f"a {type(value).__name__}"
    return shown if len(shown) <= limit else f"{shown[:limit]}..."


def printable(words: str) -> str:
    """Words for a terminal or a picture: a store of another program may have any character in a name."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in words
    )


def escaped(words: str) -> str:
    """Words for a terminal, each character that it cannot show as Python writes it: ``\\ud800``, ``\\n``."""
    if words.isprintable():
        return words
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)


def _children(node: Any) -> Sequence[Any]:
    if isinstance(node, Mapping):
        return list(node.values())
    return node if isinstance(node, list | tuple) else ()


def _is_finite(value: int | float) -> bool:
    try:
        return isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can hold
        return False
    return True
