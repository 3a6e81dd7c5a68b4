"""The plan of treatments and tiles: every layer once, and never more memory than there is."""

from __future__ import annotations

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.labelling.level_plan import cpu_band_rows, halved, plan_levels, rows_that_fit

SIDES = [4, 8, 16, 32, 64, 128, 256, 512]
FACE = [(side, side) for side in SIDES for _ in range(2)] + [(512, 512)] * 2


def test_the_face_generator_at_512() -> None:
    plan = plan_levels(FACE, (512, 512))
    assert [level.resolution for level in plan.fine] == [(256, 256), (512, 512)]
    assert plan.fine[1].layers == (14, 15, 16, 17)  # the 1024 px layers are stored reduced
    assert sorted(plan.nodes) == [4, 8, 16, 32, 64, 128]
    assert plan.ratios == (128, 64, 32, 16, 8, 4)
    assert plan.other == ()


@pytest.mark.parametrize(
    ("resolution", "grid", "kind"),
    [
        ((100, 100), (300, 300), "other"),  # ratio 3 is no power of two
        ((128, 128), (300, 300), "other"),  # nor is 2.34 whole
        ((4, 8), (64, 64), "other"),  # ratios differ by axis
        ((16, 16), (64, 64), "nodes"),
        ((200, 200), (300, 300), "fine"),  # less than 2
        ((64, 32), (128, 64), "fine"),  # exactly 2, not square
        ((16, 8), (64, 32), "nodes"),  # 4 along both axes, not square
    ],
)
def test_treatments(resolution: tuple[int, int], grid: tuple[int, int], kind: str) -> None:
    plan = plan_levels([resolution], grid)
    found = {"fine": plan.fine, "nodes": tuple(plan.nodes.values()), "other": plan.other}
    assert [name for name, levels in found.items() if levels] == [kind]


def test_maps_of_which_the_nearest_value_is_taken_join_no_nodes() -> None:
    plan = plan_levels(FACE, (512, 512), "nearest")
    assert plan.nodes == {} and plan.ratios == ()
    assert [level.resolution for level in plan.other] == [(side, side) for side in SIDES[:6]]
    assert plan.fine == plan_levels(FACE, (512, 512)).fine


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), max_size=12),
    st.integers(40, 90),
    st.sampled_from(["bilinear", "nearest"]),
)
def test_every_layer_is_treated_once(resolutions: list[tuple[int, int]], side: int, mode: str) -> None:
    plan = plan_levels(resolutions, (side, side), mode)
    assert sorted(i for level in plan.levels for i in level.layers) == list(range(len(resolutions)))
    assert all(resolutions[i] == level.resolution for level in plan.levels for i in level.layers)
    assert all(prod(level.resolution) * 4 >= side * side for level in plan.fine)


@given(st.integers(1, 2000), st.integers(1, 10**9), st.integers(0, 10**12))
def test_rows_fit_or_are_the_least(num_rows: int, row_bytes: int, available: int) -> None:
    rows = rows_that_fit(lambda n: n * row_bytes, num_rows, available)
    assert rows % 8 == 0 and rows >= 8
    assert rows == 8 or rows * row_bytes <= available
    assert rows < num_rows + 8


@given(st.integers(1, 500).map(lambda n: 8 * n))
def test_halving_ends_at_eight_rows(rows: int) -> None:
    assert halved(rows) % 8 == 0 and 8 <= halved(rows) <= max(8, rows / 2)


@pytest.mark.parametrize(
    ("width", "tile_rows", "num_threads", "rows"),
    [
        (64, 64, 2, 32),
        (64, 64, 1, 32),  # what a cache holds
        (64, 64, 16, 8),  # a band for as many threads as there can be
        (128, 128, 2, 16),
        (512, 128, 2, 8),
        (4096, 8, 2, 8),
        (8, 8, 1, 8),
        (48, 56, 2, 24),  # 28 rows are no multiple of 8
    ],
)
def test_bands_have_enough_pixels_and_every_thread_has_one(
    width: int, tile_rows: int, num_threads: int, rows: int
) -> None:
    assert cpu_band_rows(width, tile_rows, num_threads) == rows
