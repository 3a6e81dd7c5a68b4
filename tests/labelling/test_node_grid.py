"""Nodes: sums of resized maps against resizing each of them by torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.labelling.node_grid import is_power_of_two, needed_rows, pad_centres, refine, to_pixels, window


def resized(values: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """A map [h, w, c] on the whole grid by torch, in float64."""
    channels_first = values.double().permute(2, 0, 1)[None]
    return F.interpolate(channels_first, size=grid, mode="bilinear", align_corners=False)[0].permute(1, 2, 0)


def cascade(maps: dict[int, torch.Tensor], grid: tuple[int, int], first: int, last: int, end: int):
    """The sum of maps (by ratio) at grid rows that hold [first, last), refined to spacing ``end``."""
    nodes, ratio = None, max(maps)
    while ratio > end:
        a, b = window(first, last, ratio)
        centres = None
        if ratio in maps:
            start, stop = needed_rows(a, b, grid[0] // ratio)
            centres = pad_centres(maps[ratio][start:stop], a, b, grid[0] // ratio)
        finer = refine(nodes, centres)
        ratio //= 2
        start, stop = window(first, last, ratio)
        nodes = finer[start - 2 * a : stop - 2 * a + 1]
    start, stop = window(first, last, end)
    return to_pixels(nodes, end), start * end


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_refined_nodes_are_the_sum_of_the_maps_each_resized_by_torch(data: st.DataObject) -> None:
    ratios = data.draw(st.sets(st.sampled_from([2, 4, 8, 16]), min_size=1), label="ratios")
    height, width = (max(ratios) * data.draw(st.integers(1, 3), label="cells") for _ in range(2))
    end = data.draw(st.sampled_from([1, 2, 4]).filter(lambda s: s < max(ratios)), label="end")
    ratios = {ratio for ratio in ratios if ratio > end}
    first = data.draw(st.integers(0, height - 1), label="first")
    last = data.draw(st.integers(first + 1, height), label="last")
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99), label="seed"))
    maps = {r: torch.randn(height // r, width // r, 3, generator=generator) for r in ratios}

    found, start = cascade(maps, (height, width), first, last, end)

    expected = sum(resized(values, (height, width)) for values in maps.values())
    assert start <= first and last <= start + len(found)
    torch.testing.assert_close(
        found.double(), expected[start : start + len(found)], rtol=0, atol=4e-6 * len(maps)
    )


def test_a_constant_stays_constant_to_the_edges() -> None:
    nodes = refine(None, pad_centres(torch.full((2, 3, 1), 7.0), 0, 2, 2))
    assert (to_pixels(refine(nodes, None), 2) == 7).all()


@pytest.mark.parametrize(
    ("first", "last", "spacing", "expected"),
    [
        (0, 8, 4, (0, 2)),  # aligned
        (3, 5, 4, (0, 2)),  # across a node
        (4, 5, 4, (1, 2)),  # within one interval
    ],
)
def test_the_window_is_the_fewest_nodes_around(first, last, spacing, expected) -> None:
    assert window(first, last, spacing) == expected


def test_powers_of_two() -> None:
    assert [n for n in range(-4, 20) if is_power_of_two(n)] == [1, 2, 4, 8, 16]
