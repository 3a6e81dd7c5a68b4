"""Stretches of a mask's boundary that lie beside an edge of the picture, not on it.

The boundary is cut into short stretches: of one pair of classes, of one direction, within one tile. Along
each the picture's change of colour is averaged where the boundary is, and where it would be if it were moved
by a few pixels. Noise and texture have no common direction along a stretch and average out; an edge stays.
The measure is ours; `benchmarks/annotation_checks.py` measures how often it is right. It knows no class
names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_SHIFT = 6  # pixels; an edge further away is another edge
MIN_SHIFT = 2  # pixels; an edge's own blur is as wide
ON_EDGE = 1  # pixels; within these the boundary lies on its edge
MIN_CHANGE = 20.0  # levels of 255, the root of the sum over the three channels
MIN_RATIO = 5.0  # of the change at the edge to the change at the boundary
MIN_TILE = 8  # pixels
TILES = 16  # in the larger side of the picture


@dataclass(frozen=True)
class Slip:
    """A stretch of boundary that lies ``shift`` pixels from the edge that it seems to mean.

    row, column: the stretch's middle, in pixels. rows, columns: how far down and to the right the edge lies.
    classes: the two labels, the lower first. length: pixels of the stretch. box: top, left, bottom, right.
    """

    row: int
    column: int
    rows: int
    columns: int
    classes: tuple[int, int]
    length: int
    box: tuple[int, int, int, int]

    @property
    def shift(self) -> int:
        """Pixels, along a row or a column."""
        return max(abs(self.rows), abs(self.columns))


def boundary_slips(
    mask: NDArray[Any], picture: NDArray[np.uint8], unlabelled: int | None = None
) -> list[Slip]:
    """The slips of one mask (H, W) over its picture (H, W, 3) uint8, the longest first.

    Boundaries of the label ``unlabelled`` are left out: nobody has drawn them along an edge.
    """
    if mask.shape != picture.shape[:2] or picture.shape[2:] != (3,):
        raise ValueError(f"got a mask {mask.shape} and a picture {picture.shape}, expected (H, W), (H, W, 3)")
    colors = picture.astype(np.float32)
    across = _slips_across(mask, colors, unlabelled)
    down = _slips_across(mask.T, colors.transpose(1, 0, 2), unlabelled)
    found = [*across, *(_transposed(slip) for slip in down)]
    return sorted(_joined(found, _tile(mask.shape)), key=lambda slip: -slip.length)


def _tile(shape: tuple[int, ...]) -> int:
    return max(MIN_TILE, -(-max(shape) // TILES))


def _slips_across(mask: NDArray[Any], colors: NDArray[np.float32], unlabelled: int | None) -> list[Slip]:
    """The slips of boundaries between a pixel and its right neighbour."""
    if mask.shape[1] < 2:
        return []
    step = mask[:, 1:] != mask[:, :-1]  # [H, W - 1]
    if unlabelled is not None:
        step &= (mask[:, 1:] != unlabelled) & (mask[:, :-1] != unlabelled)
    rows, columns = np.nonzero(step)  # m boundary points, each left of its pixel column + 1
    left, right = mask[rows, columns].astype(np.int64), mask[rows, columns + 1].astype(np.int64)
    tile = _tile(mask.shape)
    keys = np.stack([left, right, rows // tile, columns // tile])  # left and right: the direction too
    stretches, member, lengths = np.unique(keys, axis=1, return_inverse=True, return_counts=True)
    member = member.reshape(-1)
    profiles = _profiles(mask, colors, rows, columns, member, len(lengths))  # [S, 2 M + 1]
    shifts = _shifts(profiles)
    slips = []
    for stretch in np.flatnonzero((shifts != 0) & (lengths >= tile // 2)).tolist():
        here = member == stretch
        y, x = rows[here], columns[here]
        first, second = sorted((int(stretches[0, stretch]), int(stretches[1, stretch])))
        box = (int(y.min()), int(x.min()), int(y.max()) + 1, int(x.max()) + 2)
        middle = int(np.argsort(y, kind="stable")[len(y) // 2])
        place, shift = (int(y[middle]), int(x[middle])), int(shifts[stretch])
        slips.append(Slip(*place, 0, shift, (first, second), int(lengths[stretch]), box))
    return slips


def _shifts(profiles: NDArray[np.float32]) -> NDArray[np.int64]:
    """(S,) pixels to the edge that each stretch seems to mean; 0 where it lies on one, or there is none."""
    own = profiles[:, MAX_SHIFT - ON_EDGE : MAX_SHIFT + ON_EDGE + 1].max(axis=1, initial=0)
    away = profiles.copy()
    away[:, MAX_SHIFT - MIN_SHIFT + 1 : MAX_SHIFT + MIN_SHIFT] = 0
    best = away.argmax(axis=1)
    change = away[np.arange(len(best)), best]
    slipped = (change >= MIN_CHANGE) & (change >= MIN_RATIO * own)
    return np.where(slipped, best - MAX_SHIFT, 0)


def _profiles(
    mask: NDArray[Any],
    colors: NDArray[np.float32],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    member: NDArray[np.int64],
    num: int,
) -> NDArray[np.float32]:
    """(S, 2 M + 1): the change of colour across each stretch moved by -M to M pixels, M = MAX_SHIFT.

    A point counts at a moved place only where all between is of the class on that side, and one pixel beyond:
    else the edge there is that of another boundary.
    """
    width = mask.shape[1]
    profiles = np.zeros((num, 2 * MAX_SHIFT + 1), np.float32)
    lengths = np.bincount(member, minlength=num).astype(np.float32)
    for side in (-1, 1):
        start = columns + (side > 0)  # the pixel on that side
        label = mask[rows, start]
        free = np.ones(len(rows), bool)
        for distance in range(MAX_SHIFT + 1):
            if distance > ON_EDGE:
                beyond = start + side * (distance + 1)
                inside = (beyond >= 0) & (beyond < width)
                for place in (beyond, beyond - side, beyond - 2 * side):
                    free &= inside & (mask[rows, np.clip(place, 0, width - 1)] == label)
            at = columns + side * distance
            change = _change(colors, rows, at) * free[:, None]  # [m, 3]
            sums = np.stack([np.bincount(member, change[:, c], num) for c in range(3)], axis=1)
            norm = np.linalg.norm(sums, axis=1) / np.maximum(lengths, 1)
            profiles[:, MAX_SHIFT + side * distance] = norm
    return profiles


def _change(
    colors: NDArray[np.float32], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.float32]:
    """(m, 3): how much two pixels right of each point differ from two left of it, on the mean."""
    width = colors.shape[1]
    places = [np.clip(columns + offset, 0, width - 1) for offset in (-1, 0, 1, 2)]
    first, second, third, fourth = (colors[rows, place] for place in places)
    return ((third + fourth - first - second) / 2).astype(np.float32, copy=False)


def _transposed(slip: Slip) -> Slip:
    top, left, bottom, right = slip.box
    return Slip(
        slip.column, slip.row, slip.columns, slip.rows, slip.classes, slip.length, (left, top, right, bottom)
    )


def _joined(slips: list[Slip], tile: int) -> list[Slip]:
    """Slips of one pair of classes that lie within half a tile of each other become one.

    It has the place and the shift of the longest.
    """
    groups: list[list[Slip]] = []
    for slip in slips:
        near = [group for group in groups if any(_are_near(slip, other, tile // 2) for other in group)]
        groups = [group for group in groups if not any(group is other for other in near)]
        groups.append([slip, *(member for group in near for member in group)])
    return [_as_one(group) for group in groups]


def _are_near(one: Slip, other: Slip, distance: int) -> bool:
    return one.classes == other.classes and all(
        one.box[side] <= other.box[side + 2] + distance and other.box[side] <= one.box[side + 2] + distance
        for side in (0, 1)
    )


def _as_one(group: list[Slip]) -> Slip:
    longest = max(group, key=lambda slip: slip.length)
    tops, lefts, bottoms, rights = zip(*(slip.box for slip in group), strict=True)
    box = (min(tops), min(lefts), max(bottoms), max(rights))
    length = sum(slip.length for slip in group)
    return Slip(longest.row, longest.column, longest.rows, longest.columns, longest.classes, length, box)
