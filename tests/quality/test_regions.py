"""Connected regions against a plain flood fill."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.quality.regions import connected_regions

MASKS = arrays(np.uint8, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.integers(0, 2))


def flooded(mask: np.ndarray) -> np.ndarray[Any, np.dtype[np.int64]]:
    """(H, W): the region of each pixel, filled one neighbour at a time, numbered by their first pixels."""
    height, width = mask.shape
    found = np.full(mask.shape, -1)
    for start in np.ndindex(mask.shape):
        if found[start] >= 0:
            continue
        waiting, number = [start], found.max() + 1
        found[start] = number
        while waiting:
            row, column = waiting.pop()
            for y in range(max(row - 1, 0), min(row + 2, height)):
                for x in range(max(column - 1, 0), min(column + 2, width)):
                    if found[y, x] < 0 and mask[y, x] == mask[row, column]:
                        found[y, x] = number
                        waiting.append((y, x))
    return found


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_regions_are_those_of_a_flood_fill(mask: np.ndarray) -> None:
    regions, expected = connected_regions(mask), flooded(mask)
    np.testing.assert_array_equal(regions.index, expected)
    for number in range(expected.max() + 1):
        rows, columns = np.nonzero(expected == number)
        assert regions.labels[number] == mask[rows[0], columns[0]]
        assert regions.pixels[number] == len(rows)
        box = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
        assert regions.boxes[number].tolist() == box
        touches = not rows.min() or not columns.min() or box[2] == mask.shape[0] or box[3] == mask.shape[1]
        assert regions.inner[number] == (not touches)


def test_a_spiral_is_one_region() -> None:
    mask = np.zeros((9, 9), np.uint16)
    mask[1, 1:8] = mask[1:8, 7] = mask[7, 1:8] = mask[3:8, 1] = mask[3, 1:6] = mask[3:6, 5] = 700
    regions = connected_regions(mask)
    assert regions.pixels[regions.labels == 700].tolist() == [(mask == 700).sum()]
