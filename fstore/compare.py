"""Compares what a store says of itself with what a run would write, to find settings that have changed.

Pure. It knows JSON objects, and which of their keys change no byte of the arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fstore.errors import MismatchError
from fstore.values import short

# Keys of the attribute that may differ between a store and a rerun: file names do not matter where hashes
# agree; a correction that is being moved into place, and a filter with a rule, have versions of their own.
UNSEMANTIC = (
    *("created", "keep", "threshold", "filter", "interpreter.folder", "generator.checkpoint"),
    *("translator.folder", "translator.source.store", "corrected", "version"),
)
# Keys that follow from the annotations, which a run may correct and add to where it brings them all.
OF_ANNOTATIONS = ("classes", "ignore", "inputs")


def check_same(
    store: Mapping[str, Any], run: Mapping[str, Any], where: str, ignored: Sequence[str] = ()
) -> None:
    """Refuse to go on with a store begun with other settings; those of ``ignored`` keys may differ.

    Raises MismatchError naming the first difference.
    """
    for key, found, asked in differences(store, run, (*UNSEMANTIC, *ignored)):
        raise MismatchError(
            f"{where}: was begun with {key} = {short(found)}, this run has {short(asked)}; "
            "use the same settings, another store, or --overwrite to start anew"
        )


def differences(
    a: Mapping[str, Any], b: Mapping[str, Any], ignored: Sequence[str] = (), prefix: str = ""
) -> list[tuple[str, Any, Any]]:
    """Where two JSON objects differ: (dotted key, value in ``a``, value in ``b``), nested objects key by key.

    ``ignored`` are dotted keys that may differ.
    """
    found: list[tuple[str, Any, Any]] = []
    for key in [*a, *(key for key in b if key not in a)]:
        if prefix + key in ignored:
            continue
        left, right = a.get(key), b.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found += differences(left, right, ignored, f"{prefix}{key}.")
        elif left != right:
            found.append((prefix + key, left, right))
    return found
