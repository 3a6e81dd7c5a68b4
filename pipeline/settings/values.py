"""The rules of settings: each checks a value, returns the one to keep, and has the words for an error
message.

Byte counts and the kept fraction are read here too. This module does not know which settings there are.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from fstore.errors import StoreError
from fstore.meta import TASK_IMAGES
from fstore.values import keep_fraction
from pipeline.errors import UsageError, short
from pipeline.settings.file_names import check_ordinary

MAX_INTEGER = 2**63 - 1
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SPLIT_PART = re.compile(r"([A-Za-z][A-Za-z0-9_-]{0,59})\s*=\s*([0-9]{0,9}\.?[0-9]{1,9})")
_UNITS = {"": 1, "b": 1} | {
    f"{prefix}{end}": base**power
    for power, prefix in enumerate("kmgt", start=1)
    for end, base in (("", 1000), ("b", 1000), ("ib", 1024))
}


def is_url(location: str) -> bool:
    return _URL.match(location) is not None


@dataclass(frozen=True)
class Rule:
    """What one setting accepts.

    ``parse`` returns the value to keep, or raises ValueError, TypeError or ArithmeticError; it accepts
    what it has returned. ``from_text`` reads a flag's text as ``parse`` wants it. ``metavar`` stands for the
    value in ``--help``, unless there are ``choices`` to list.
    """

    expected: str
    parse: Callable[[Any], Any]
    from_text: Callable[[str], Any] = str
    metavar: str = "TEXT"
    choices: tuple[str, ...] = ()
    is_path: bool = False

    def check(self, label: str, value: Any) -> Any:
        """The value to keep. Raises UsageError, one line, that begins with ``label``."""
        try:
            return self.parse(value)
        except (ValueError, TypeError, ArithmeticError):
            raise UsageError(f"{label} is {short(value)}; expected {self.expected}") from None

    def check_text(self, label: str, text: str) -> Any:
        """``check`` of a flag's text."""
        try:
            value = self.from_text(text)
        except (ValueError, ArithmeticError):
            value = text
        return self.check(label, value)

    def check_either(self, label: str, value: Any) -> Any:
        """``check_text`` of a text, ``check`` of any other value. A path is one of a file or a folder, if
        anything lies there.
        """
        kept = self.check_text(label, value) if isinstance(value, str) else self.check(label, value)
        if self.is_path and kept is not None and "://" not in str(kept):
            check_ordinary(kept)
        return kept


def _require(accepted: bool) -> None:
    if not accepted:
        raise ValueError


def integer(low: int, high: int = MAX_INTEGER) -> Rule:
    def parse(value: Any) -> int:
        _require(isinstance(value, int) and not isinstance(value, bool) and low <= value <= high)
        return int(value)

    expected = (
        f"an integer >= {low}, below 2^63" if high == MAX_INTEGER else f"an integer from {low} to {high}"
    )
    return Rule(expected, parse, int, "INTEGER")


def number(expected: str, accept: Callable[[float], bool]) -> Rule:
    def parse(value: Any) -> float:
        _require(isinstance(value, (int, float)) and not isinstance(value, bool))
        _require(math.isfinite(value) and accept(float(value)))
        return float(value)

    return Rule(expected, parse, float, "NUMBER")


def choice(*accepted: str) -> Rule:
    def parse(value: Any) -> str:
        _require(isinstance(value, str) and value in accepted)
        return str(value)

    return Rule("one of " + ", ".join(f'"{word}"' for word in accepted), parse, choices=accepted)


def _text(value: Any) -> str:
    _require(isinstance(value, str) and bool(value.strip()) and value.isprintable())
    return str(value)


def _path(value: Any) -> Path:
    """A path of this machine; ``file:///...`` is the path that it names, and no other URL is one."""
    location = _location(value)
    parts = urlsplit(location) if "://" in location else None
    if parts is None:
        return Path(location)
    _require(parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"))
    path = unquote(parts.path)
    _require("\0" not in path)
    return Path(path)


def _location(value: Any) -> str:
    written = os.fspath(value)
    _require(isinstance(written, str) and bool(written) and "\0" not in written)
    _require(is_url(written) or "://" not in written)
    return written if is_url(written) else os.path.expanduser(written)


def _color(value: Any) -> str:
    _require(isinstance(value, str) and re.fullmatch(r"#[0-9A-Fa-f]{6}", value) is not None)
    return str(value).lower()


def _device(value: Any) -> str:
    _require(isinstance(value, str) or type(value).__name__ == "device")  # a torch.device has the same text
    _require(re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,4})?", str(value)) is not None)
    return str(value)


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


@dataclass(frozen=True)
class Keep:
    """The kept part of a dataset: exactly what its digits say, and the ``text`` that a store records.

    ``"0.07"`` and ``0.07`` are 7/100, not the double beside it. Two that are the same fraction are equal.
    `AUTO_KEEP` stands for the part that a calibration recommends; it has no fraction of its own.
    """

    text: str = field(compare=False)
    fraction: Fraction

    @classmethod
    def parse(cls, value: str | float | int | Keep) -> Keep:
        """From decimal text, or a number, which is read by its shortest decimal form.

        Raises ValueError, or OverflowError for an integer that no float holds, unless 0 < keep <= 1.
        """
        if isinstance(value, Keep):
            return value
        written = value.strip() if isinstance(value, str) else repr(float(value))
        _require(not isinstance(value, bool))
        try:
            return cls(written, keep_fraction(written))
        except StoreError as error:
            raise ValueError from error

    @property
    def is_auto(self) -> bool:
        """Whether a calibration has to say which part."""
        return self == AUTO_KEEP

    def __str__(self) -> str:
        return self.text

    def to_toml(self) -> str:
        """A TOML number; a text in quotes where it is ``auto``, or a double would lose digits."""
        if self.is_auto:
            return f'"{self.text}"'
        number = repr(float(self.fraction))
        return number if Keep.parse(number) == self else f'"{self.text}"'


AUTO_KEEP = Keep("auto", Fraction(0))  # equal to no part that can be asked for, each of which is over 0


def parse_keep(value: str | float | int | Keep) -> Keep:
    """`AUTO_KEEP` from the text ``auto``, else what `Keep.parse` makes of the value and raises."""
    is_auto = isinstance(value, str) and value.strip() == AUTO_KEEP.text
    return AUTO_KEEP if is_auto else Keep.parse(value)


@dataclass(frozen=True)
class Split:
    """Parts that share out a set of images: (name, fraction) each, and the ``text`` that said so.

    The fractions are exact, and their sum is 1.
    """

    text: str = field(compare=False)
    parts: tuple[tuple[str, Fraction], ...]

    @classmethod
    def parse(cls, value: str | Mapping[str, float] | Split) -> Split:
        """From ``"train=0.9,val=0.1"``, or a dict of names and fractions.

        Raises ValueError unless the names differ, also without their case, and the fractions are decimal and
        over 0 with the sum 1.
        """
        if isinstance(value, Split):
            return value
        if isinstance(value, Mapping):
            value = ",".join(f"{name}={fraction}" for name, fraction in value.items())
        _require(isinstance(value, str))
        matches = [_SPLIT_PART.fullmatch(part.strip()) for part in value.split(",")]
        _require(all(matches))
        parts = tuple((match[1], Fraction(match[2])) for match in matches if match)
        _require(len({name.casefold() for name, _ in parts}) == len(parts))
        _require(all(fraction > 0 for _, fraction in parts) and sum(f for _, f in parts) == 1)
        return cls(value.strip(), parts)

    def __str__(self) -> str:
        return self.text


def _pairs(value: Any) -> tuple[tuple[str, str], ...]:
    _require(isinstance(value, (list, tuple)))
    pairs = []
    for pair in value:
        _require(isinstance(pair, (list, tuple)) and len(pair) == 2)
        first, second = (_text(name) for name in pair)
        _require(first != second)
        pairs.append((first, second))
    names = [name for pair in pairs for name in pair]
    _require(len(set(names)) == len(names))
    return tuple(pairs)


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
    """One text of seeds, from a text, a number, or a list or range of numbers."""
    if isinstance(value, (list, tuple, range)):
        _require(0 < len(value) <= 2**20)
        value = ",".join(str(integer(0).parse(each)) for each in value)
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    _require(isinstance(text, str))
    parse_seeds(text)
    return str(text).strip()


def _layers_text(value: Any) -> str:
    """One text of the parts, from a text or a list; a generator says what they name."""
    parts = value.split(",") if isinstance(value, str) else value
    _require(isinstance(parts, (list, tuple)) and len(parts) > 0)
    texts = [
        str(part).strip() for part in parts if isinstance(part, (str, int)) and not isinstance(part, bool)
    ]
    _require(len(texts) == len(parts) and all(texts))
    return ",".join(texts)


def parse_bytes(text: str) -> int:
    """A positive number of bytes: decimal units (kB, MB, GB, TB) or binary ones (KiB, MiB, GiB, TiB).

    A part of a byte is dropped. Raises ValueError for anything else, and for 2^63 bytes and more.
    """
    match = re.fullmatch(r"\s*([0-9]{1,20}(?:\.[0-9]{1,20})?)\s*([a-z]*)\s*", text, re.IGNORECASE | re.ASCII)
    if match is None or match[2].lower() not in _UNITS:
        raise ValueError
    value = int(Fraction(match[1]) * _UNITS[match[2].lower()])
    _require(0 < value <= MAX_INTEGER)
    return value


def _cache_text(value: Any) -> str:
    """``none``, or a size as a text; from a text or a number of bytes."""
    _require(isinstance(value, (str, int)) and not isinstance(value, bool))
    text = str(value).strip().lower()
    if text in ("0", "none"):
        return "none"
    parse_bytes(text)
    return text


def _subspace_text(value: Any) -> str:
    """``auto``, ``off``, or a part of the energy as a text; from a text or a number."""
    if isinstance(value, str) and value in ("auto", "off"):
        return value
    _require(isinstance(value, (str, int, float)) and not isinstance(value, bool))
    energy = float(value)
    _require(0 < energy <= 1)
    return f"{energy:.12g}"


def _bytes(value: Any) -> int:
    return parse_bytes(value) if isinstance(value, str) else int(POSITIVE.parse(value))


ANY_SEED = integer(0)
POSITIVE = integer(1)
IMAGE_SIDE = integer(1, 2**14)  # a picture beyond it takes gigabytes, and a slip of the hand asks for it
PATH = Rule("a path on this machine", _path, metavar="PATH", is_path=True)
STORE = Rule("a path or a URL of a store", _location, metavar="STORE", is_path=True)
CROP_ROWS = Rule('two rows, [a, b] or "A:B", with 0 <= a < b', parse_crop_rows, metavar="A:B")
HIDDEN = Rule("two widths such as [128, 32], each >= 1", lambda value: _integers(value, low=1))
KEEP = Rule('a decimal fraction with 0 < keep <= 1, such as 0.9, or "auto"', parse_keep, metavar="FRACTION")
SPLIT = Rule(
    'names with fractions whose sum is 1, such as "train=0.9,val=0.1"',
    Split.parse,
    metavar="NAME=FRACTION",
)
# A batch must not reach from one task into the next.
RENDER_BATCH = Rule(
    f"a divisor of {TASK_IMAGES}",
    lambda value: value if TASK_IMAGES % POSITIVE.parse(value) == 0 else _require(False),
    int,
    "INTEGER",
)
OUTPUT_STRIDE = Rule(
    "8, 16 or 32",
    lambda value: value if POSITIVE.parse(value) in (8, 16, 32) else _require(False),
    int,
    "INTEGER",
)
PAIRS = Rule('pairs of names such as [["left eye", "right eye"]], each name once', _pairs)
TILE = Rule(
    "a multiple of 8",
    lambda value: value if POSITIVE.parse(value) % 8 == 0 else _require(False),
    int,
    "INTEGER",
)
NAME = Rule("a name", _text)
COLOR = Rule('a colour "#rrggbb"', _color)
BYTES = Rule("a size such as 4GB, 512MB or 1.5GiB", _bytes, metavar="SIZE")
CACHE = Rule('a size such as "4GB", or "none"', _cache_text, metavar="SIZE")
SUBSPACE = Rule('"auto", "off", or a number over 0 and up to 1', _subspace_text, metavar="auto|off|ENERGY")
SEEDS = Rule('seeds such as "0-15" or "3,7,20-29"', _seeds_text, metavar="SEEDS")
LAYERS = Rule('layers by name, number or slice, such as "b8_out,3,4:-2"', _layers_text, metavar="LAYERS")
BOOLEAN = Rule("true or false", _boolean)
SCHEDULER = Rule("an address such as tcp://host:8786, or a scheduler file", _text, metavar="ADDRESS|FILE")
DEVICE = Rule("auto, cpu, cuda or cuda:i", _device, metavar="DEVICE")
THREADS = integer(
    1, 1024
)  # more than any machine has cores; OpenMP ends the process where it cannot start them
