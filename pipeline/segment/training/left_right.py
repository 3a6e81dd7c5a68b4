"""Which names swap where a picture is mirrored: pairs that are set, or names that differ in left and right.

Pure functions of names. They know no pictures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError, few
from pipeline.inputs.annotations.classes.label_map import nearest_name

Pair = tuple[str, str]
_SIDES = {"left": "right", "right": "left", "l": "r", "r": "l"}
_SEPARATORS = re.compile(r"([ _-])")


def named_pairs(names: Sequence[str]) -> tuple[Pair, ...]:
    """The pairs of names that are equal but for left and right, in the order of the names.

    ``left``, ``right``, ``l`` and ``r`` count as whole words between spaces, underscores and hyphens, in
    whatever case. A name that two outputs have is in no pair.
    """
    keys = [name.casefold() for name in names]
    pairs = []
    for place, key in enumerate(keys):
        other = "".join(_SIDES.get(word, word) for word in _SEPARATORS.split(key))
        if other != key and keys.count(key) == keys.count(other) == 1 and keys.index(other) > place:
            pairs.append((names[place], names[keys.index(other)]))
    return tuple(pairs)


def checked_pairs(pairs: Sequence[Pair], names: Sequence[str], what: str) -> tuple[Pair, ...]:
    """The pairs as they are set. ``what``: where the names come from, for the message.

    Raises UsageError for a name that is none of ``names``.
    """
    for name in (name for pair in pairs for name in pair):
        if name not in names:
            near = nearest_name(name, names)
            hint = f"; the nearest is {near!r}" if near else ""
            raise UsageError(
                f"[segment] left_right names {name!r}, which is none of {what} ({few(names, 6)}){hint}"
            )
    return tuple(pairs)


def swap_table(pairs: Sequence[Pair], names: Sequence[str]) -> NDArray[np.int64]:
    """(K,): the place that each name has in a mirrored picture. Applied twice it changes nothing."""
    table = np.arange(len(names))
    for one, other in pairs:
        first, second = names.index(one), names.index(other)
        table[[first, second]] = second, first
    return table
