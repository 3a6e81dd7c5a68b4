"""Which picture of one side shows the same as which of the other.

It knows names, numbers and sizes. It reads no picture.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.errors import UsageError, count, few
from pipeline.translate.sides import Side


@dataclass(frozen=True)
class Pairs:
    """Both sides, place i of one showing the same as place i of the other. how: what pairs them."""

    source: Side
    target: Side
    how: str
    notes: tuple[str, ...]


def pair_sides(source: Side, target: Side) -> Pairs:
    """The pictures of both sides that have a partner: two folders' by their names or else by the numbers in
    these, a store's by the image's id, which is the number in a picture's name.

    Raises UsageError, one line, where none has one, where two pictures of a side have one key, and where two
    stores have images of different aspects.
    """
    for way, keys in _ways(source, target):
        how, places = way, [_by_key(side, key) for side, key in zip((source, target), keys, strict=True)]
        common = [key for key in places[0] if key in places[1]]
        if common:
            break
    else:
        raise UsageError(
            f"{source.where} and {target.where}: no picture of one has a partner in the other, of "
            f"{len(source)} ({few(source.names, 2)}) and {len(target)} ({few(target.names, 2)}); --paired "
            "expects equal names, or a store's image id as the number in a picture's name"
        )
    _refuse_twins(((source, places[0]), (target, places[1])), common, how)
    _check_aspects(source, target)
    chosen = [[found[key][0] for key in common] for found in places]
    lone = [(side, len(side) - len(common)) for side in (source, target)]
    return Pairs(
        _chosen(source, chosen[0]),
        _chosen(target, chosen[1]),
        how,
        tuple(_lone_note(side, kept, num) for (side, num), kept in zip(lone, chosen, strict=True) if num),
    )


def check_pair(
    source: Side, target: Side, place: int, sizes: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    """Refuse the pictures of a pair whose ``sizes`` (h, w) differ in aspect. Raises UsageError."""
    if not _same_aspect(*sizes):
        shown = [f"{height} x {width}" for height, width in sizes]
        raise UsageError(
            f"{source.where}: {source.names[place]} is {shown[0]} (rows x columns), and its partner "
            f"{target.names[place]} in {target.where} {shown[1]}; a pair must have one aspect"
        )


def _ways(source: Side, target: Side) -> list[tuple[str, tuple[Sequence[Hashable], Sequence[Hashable]]]]:
    """How pictures may be paired, the surest first: what it is called, and the key of each picture."""
    ways: list[tuple[str, tuple[Sequence[Hashable], Sequence[Hashable]]]] = []
    if source.stems is not None and target.stems is not None:
        ways.append(("name", (source.stems, target.stems)))
    return [*ways, ("number", (source.numbers, target.numbers))]


def _by_key(side: Side, keys: Sequence[Hashable]) -> dict[Hashable, list[int]]:
    """Key -> places, in their order; pictures without a key are left out."""
    found: dict[Hashable, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        if key is not None:
            found[key].append(place)
    return found


def _refuse_twins(
    sides: Sequence[tuple[Side, Mapping[Hashable, list[int]]]], common: Sequence[Hashable], how: str
) -> None:
    for side, places in sides:
        for key in common:
            if len(places[key]) > 1:
                twins = " and ".join(side.names[place] for place in places[key][:2])
                raise UsageError(
                    f"{side.where}: {twins} have the same {how} ({key}), so --paired cannot tell which is "
                    "meant; take one out of the folder, or rename it"
                )


def _check_aspects(source: Side, target: Side) -> None:
    if source.size is not None and target.size is not None:
        check_pair(source, target, 0, (source.size, target.size))


def _same_aspect(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether one picture is the other resized, to the rounding of a pixel in either direction."""
    (h, w), (height, width) = one, other
    return abs(h * width - w * height) < max(h, w, height, width)


def _chosen(side: Side, places: Sequence[int]) -> Side:
    """The pictures at some places alone, in their order."""
    digest = hashlib.sha256(np.asarray(places, "<i8").tobytes()).hexdigest()
    return replace(
        side,
        names=[side.names[place] for place in places],
        numbers=[side.numbers[place] for place in places],
        stems=None if side.stems is None else [side.stems[place] for place in places],
        read=lambda wanted: side.read([places[place] for place in wanted]),
        record={**side.record, "paired_sha256": digest},
    )


def _lone_note(side: Side, kept: Sequence[int], num: int) -> str:
    known = set(kept)
    lone = [name for place, name in enumerate(side.names) if place not in known]
    return f"{side.where}: {count(num, 'picture')} without a partner left out ({few(lone, 3)})"
