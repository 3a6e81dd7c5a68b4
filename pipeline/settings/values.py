"""What a configuration key accepts: a rule is a check, the value to keep, and the words for an error message.

Knows nothing of which keys there are, nor of files and flags.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.settings.sizes import parse_bytes

TASK_IMAGES = 64  # images of one synthesize task (docs/format.md); render batches may not straddle two tasks
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_url(location: str) -> bool:
    return _URL.match(location) is not None


@dataclass(frozen=True)
class Rule:
    """What one key accepts. ``parse`` returns the value to keep, or raises ValueError or TypeError."""

    expected: str
    parse: Callable[[Any], Any]
    is_path: bool = False


def _require(accepted: bool) -> None:
    if not accepted:
        raise ValueError


def integer(low: int, high: int = 2**63 - 1) -> Rule:
    def parse(value: Any) -> int:
        _require(isinstance(value, int) and not isinstance(value, bool) and low <= value <= high)
        return int(value)

    expected = f"an integer >= {low}, below 2^63" if high == 2**63 - 1 else f"an integer from {low} to {high}"
    return Rule(expected, parse)


def number(expected: str, accept: Callable[[float], bool]) -> Rule:
    def parse(value: Any) -> float:
        _require(isinstance(value, (int, float)) and not isinstance(value, bool))
        _require(math.isfinite(value) and accept(float(value)))
        return float(value)

    return Rule(expected, parse)


def choice(*accepted: str) -> Rule:
    def parse(value: Any) -> str:
        _require(isinstance(value, str) and value in accepted)
        return str(value)

    return Rule("one of " + ", ".join(f'"{word}"' for word in accepted), parse)


def _text(value: Any) -> str:
    _require(isinstance(value, str) and bool(value.strip()) and value.isprintable())
    return str(value)


def _path(value: Any) -> Path:
    return Path(_location(value))


def _location(value: Any) -> str:
    written = os.fspath(value)
    _require(isinstance(written, str) and bool(written) and "\0" not in written)
    return written if is_url(written) else os.path.expanduser(written)


def _color(value: Any) -> str:
    _require(isinstance(value, str) and re.fullmatch(r"#[0-9A-Fa-f]{6}", value) is not None)
    return str(value).lower()


def _boolean(value: Any) -> bool:
    _require(isinstance(value, bool))
    return bool(value)


def parse_crop_rows(value: str | list[int] | tuple[int, ...]) -> tuple[int, int]:
    """Rows [a, b) from ``"A:B"`` (a flag) or a pair (TOML). Raises ValueError unless 0 <= a < b."""
    if isinstance(value, str):
        match = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", value.strip())
        _require(match is not None)
        value = [int(part) for part in value.split(":")]
    first, last = _integers(value, low=0)
    _require(first < last)
    return first, last


def _integers(value: Any, low: int) -> tuple[int, int]:
    _require(isinstance(value, (list, tuple)) and len(value) == 2)
    first, second = (integer(low).parse(part) for part in value)
    return first, second


def parse_keep(value: str | float | int) -> Fraction:
    """The kept fraction exactly as its digits say: ``"0.07"`` and ``0.07`` are 7/100, not a nearby double.

    A number is read by its shortest decimal form. Raises ValueError unless 0 < keep <= 1 and keep is decimal.
    """
    written = value if isinstance(value, str) else repr(float(value))
    # Length and exponent are bounded: Fraction(Decimal("1e-999999999")) would not end.
    _require(not isinstance(value, bool) and len(written) <= 64 and "_" not in written)
    try:
        decimal = Decimal(written)
    except InvalidOperation as error:
        raise ValueError from error
    _require(decimal.is_finite() and decimal > 0 and decimal.adjusted() >= -64)
    _require(decimal <= 1)
    return Fraction(decimal)


def _keep_text(value: Any) -> str:
    parse_keep(value)
    return value.strip() if isinstance(value, str) else repr(float(value))


def parse_seeds(value: str) -> tuple[int, ...]:
    """Seeds from ``"0-15"`` or ``"3,7,20-29"``, in the order written. Raises ValueError for anything else."""
    seeds: list[int] = []
    for part in value.split(","):
        match = re.fullmatch(r"([0-9]{1,10})(?:-([0-9]{1,10}))?", part.strip())
        _require(match is not None)
        first, last = int(match[1]), int(match[2] or match[1])  # type: ignore[index]
        _require(first <= last < 2**32 and len(seeds) + last - first < 2**20)  # RandomState takes 32 bits
        seeds += range(first, last + 1)
    return tuple(seeds)


def _seeds_text(value: Any) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    _require(isinstance(text, str))
    parse_seeds(text)
    return str(text).strip()


def _layers_text(value: Any) -> str:
    """One text of the parts, from a text or a TOML list; a generator says what they name."""
    parts = value.split(",") if isinstance(value, str) else value
    _require(isinstance(parts, list) and len(parts) > 0)
    texts = [
        str(part).strip() for part in parts if isinstance(part, (str, int)) and not isinstance(part, bool)
    ]
    _require(len(texts) == len(parts) and all(texts))
    return ",".join(texts)


def _cache_text(value: Any) -> str:
    _require(isinstance(value, str))
    text = value.strip().lower()
    if text in ("0", "none"):
        return "none"
    try:
        parse_bytes(text, "cache")
    except UsageError as error:
        raise ValueError from error
    return text


ANY_SEED = integer(0)
POSITIVE = integer(1)
PATH = Rule("a path", _path, is_path=True)
STORE = Rule("a path or URL of a store", _location, is_path=True)
CROP_ROWS = Rule('two rows, [a, b] or "A:B", with 0 <= a < b', parse_crop_rows)
HIDDEN = Rule("two widths such as [128, 32], each >= 1", lambda value: _integers(value, low=1))
KEEP = Rule("a decimal fraction with 0 < keep <= 1, such as 0.9", _keep_text)
RENDER_BATCH = Rule(
    f"a divisor of {TASK_IMAGES}",
    lambda value: value if TASK_IMAGES % POSITIVE.parse(value) == 0 else _require(False),
)
TILE = Rule("a multiple of 8", lambda value: value if POSITIVE.parse(value) % 8 == 0 else _require(False))
NAME = Rule("a name", _text)
COLOR = Rule('a colour "#rrggbb"', _color)
CACHE = Rule('a size such as "4GB", or "none"', _cache_text)
SEEDS = Rule('seeds such as "0-15" or "3,7,20-29"', _seeds_text)
LAYERS = Rule('layers by name, number or slice, such as "b8_out,3,4:-2"', _layers_text)
BOOLEAN = Rule("true or false", _boolean)
