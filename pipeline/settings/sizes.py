"""Byte counts as people write them: ``4GB``, ``512 MiB``. It knows nothing of what they bound."""

from __future__ import annotations

import re

from pipeline.errors import UsageError

_UNITS = {"": 1, "b": 1} | {
    f"{prefix}{end}": base**power
    for power, prefix in enumerate("kmgt", start=1)
    for end, base in (("", 1000), ("b", 1000), ("ib", 1024))
}


def parse_bytes(text: str, name: str) -> int:
    """A positive number of bytes: decimal units (kB, MB, GB, TB) or binary ones (KiB, MiB, GiB, TiB).

    ``name`` is the setting, for the message of the UsageError that anything else raises.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text, re.IGNORECASE)
    if match and match[2].lower() in _UNITS:
        value = int(float(match[1]) * _UNITS[match[2].lower()])
        if value > 0:
            return value
    raise UsageError(f"{name} is {text!r}; expected a size such as 4GB, 512MB or 1.5GiB")
