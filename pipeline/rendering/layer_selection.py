"""Finds the feature layers that a text such as ``b8_out,3,4:-2`` means: names, numbers and slices.

It is pure, except for ``with_layers``, which applies the selection to a loaded generator. It reads no files.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

from pipeline.checkpoints.read import LoadedGenerator
from pipeline.errors import UsageError, count
from pipeline.models.selection import select_layers

_NUMBER = re.compile(r"[+-]?[0-9]{1,9}")
_SLICE = re.compile(r"([+-]?[0-9]{1,9})?\s*:\s*([+-]?[0-9]{1,9})?(?:\s*:\s*([+-]?[0-9]{1,9})?)?")


def resolve_layers(text: str, names: Sequence[str], where: str) -> tuple[str, ...]:
    """The layers that ``text`` means, out of ``names``, in the order of ``names`` and each once.

    Its parts, between commas, are names; numbers from 0, or from -1 backwards; or slices as Python's, whose
    ends may lie beyond the list. A name goes before a number. ``where`` is whose layers these are, for the
    message. Raises UsageError, one line, for a part that names no layer or selects none.
    """
    chosen: set[int] = set()
    for part in (part.strip() for part in text.split(",")):
        chosen.update(_places(part, names, where))
    return tuple(name for place, name in enumerate(names) if place in chosen)


def with_layers(loaded: LoadedGenerator, text: str | None) -> LoadedGenerator:
    """The generator with the layers that ``text`` means, all for None. Raises UsageError as
    ``resolve_layers``.
    """
    if text is None:
        return loaded
    names = [layer.name for layer in loaded.generator.layers]
    chosen = resolve_layers(text, names, str(loaded.path))
    return replace(loaded, generator=select_layers(loaded.generator, chosen))


def _places(part: str, names: Sequence[str], where: str) -> list[int]:
    if part in names:
        return [names.index(part)]
    if _NUMBER.fullmatch(part):
        if not -len(names) <= int(part) < len(names):
            _refuse(f"layer {part} is not there", names, where)
        return [int(part) % len(names)]
    match = _SLICE.fullmatch(part)
    if match is None:
        near = difflib.get_close_matches(part, names, 1, cutoff=0.0)
        _refuse(f"no layer is named {part!r}, the nearest name is {near[0]!r}", names, where)
    start, stop, step = (None if bound is None else int(bound) for bound in match.groups())
    if step == 0:
        _refuse(f"the slice {part!r} has a step of 0", names, where)
    places = list(range(len(names)))[start:stop:step]
    if not places:
        _refuse(f"the slice {part!r} selects no layer", names, where)
    return places


def _refuse(what: str, names: Sequence[str], where: str) -> NoReturn:
    raise UsageError(
        f"--layers: {what}; {where} has {count(len(names), 'layer')}, {names[0]} to {names[-1]}: give "
        f"names, numbers "
        f"from 0 to {len(names) - 1} or slices such as 4:-2"
    )
