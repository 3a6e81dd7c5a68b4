"""Decides which of several generators in a file is meant, from the paths of keys under which they stand.

Training programs save a generator twice: as it is trained, and averaged over the last steps, under names such
as ``g`` and ``g_ema``. The averaged one renders. This module knows paths, and no tensors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.errors import short

WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_forward_module"})
"""What DataParallel, torch.compile and others put into the names of a network's tensors."""
MAX_SHOWN = 4
_AVERAGED = frozenset({"ema", "avg", "average", "averaged", "swa", "shadow", "running", "smooth", "gs"})
_PLAIN = frozenset(
    {
        *("g", "net", "netg", "gen", "generator", "network", "model", "module", "online", "orig", "mod"),
        *("params", "param", "state", "dict", "weights", "checkpoint", "ckpt", "callback", "callbacks"),
        *("decay", "synthesis"),
    }
)
"""Words that do not say which of several generators it is."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def without_wrappers(path: str) -> str:
    """A dotted path without the parts that wrappers have put into it."""
    return ".".join(part for part in path.split(".") if part not in WRAPPERS)


def is_averaged(path: str) -> bool:
    """Whether a path's words say that what stands there is an average over training steps."""
    return not _AVERAGED.isdisjoint(_words(path))


def is_under(path: str, key: str) -> bool:
    """Whether a key, of one part or of several between dots, is a part of the path."""
    return not key or any(f".{key}." in f".{each}." for each in (path, without_wrappers(path)))


def preferred(paths: Sequence[str]) -> int | None:
    """The place in `paths` of the generator that is meant where none is named; None where that is not clear.

    It is the only generator, or the only averaged one. The averaged one counts only where no word says that
    the others are of another generator: ``g_ema`` beside ``g``, ``ema`` beside ``netG``, but not ``cats_ema``
    beside ``dogs``.
    """
    averaged = [place for place, path in enumerate(paths) if is_averaged(path)]
    if len(paths) == 1:
        return 0
    is_one = len({_identity(path) for path in paths}) == 1
    return averaged[0] if len(averaged) == 1 and is_one else None


def shown_paths(paths: Sequence[str]) -> str:
    """The first of some paths, each escaped and cut, and how many more there are."""
    names = [short(without_wrappers(path)) for path in paths[:MAX_SHOWN]]
    more = [f"{len(paths) - MAX_SHOWN} more"] if len(paths) > MAX_SHOWN else []
    return " or ".join(names + more)


def _words(path: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(path)]


def _identity(path: str) -> frozenset[str]:
    """The words of a path that say which generator it is; a number after ``ema`` says only how it decays."""
    words = _words(path)
    first = next((place for place, word in enumerate(words) if word in _AVERAGED), len(words))
    kept = [word for place, word in enumerate(words) if not (word.isdigit() and place > first)]
    return frozenset(kept) - _AVERAGED - _PLAIN
