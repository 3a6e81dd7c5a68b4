"""What an epoch reads and draws: coverage, class mix, equal chances, determinism."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sampling import (
    DENSE,
    LAYOUTS,
    MASKS,
    NUM_CLASSES,
    PYRAMID,
    chi_square_critical,
    equal_means_statistic,
    plan_of,
    regions_of,
)

from fstore.plan import choose_pixels, plan_epoch


@st.composite
def plan_arguments(draw: st.DrawFn) -> dict[str, Any]:
    shape = (
        draw(st.integers(1, 3)),
        draw(st.integers(1, 5)),
        draw(st.integers(1, 4)),
        draw(st.integers(1, 5)),
    )
    values = draw(
        st.lists(
            st.sampled_from([0, 0, 0, 1, 7, 256]),
            min_size=int(np.prod(shape)),
            max_size=int(np.prod(shape)),
        )
    )
    counts = np.array(values, np.uint16).reshape(shape)
    counts[0, 0, 0, 0] = 3
    regions = np.count_nonzero(counts.any(axis=(1, 2)))
    return dict(
        class_counts=counts,
        seed=draw(st.integers(0, 2**64 - 1)),
        epoch=draw(st.integers(0, 1000)),
        alpha=draw(st.floats(0, 1)),
        draws=int(regions + draw(st.integers(0, 3000))),
        draws_per_unit=draw(st.floats(1, 300)),
        unit_tiles=(draw(st.integers(1, 3)), draw(st.integers(1, 4))),
    )


@given(plan_arguments())
def test_plan_keeps_its_invariants(arguments: dict[str, Any]) -> None:
    plan = plan_epoch(**arguments)
    counts, (a, b) = arguments["class_counts"], arguments["unit_tiles"]
    regions = counts.any(axis=(1, 2))
    assert plan.num_draws == arguments["draws"]
    assert plan.num_units <= arguments["draws"] / arguments["draws_per_unit"] + np.count_nonzero(regions) + 1
    num_coverage = int(plan.coverage.sum())  # what the bound allows for regions is spent on coverage alone
    num_other = arguments["draws"] - num_coverage
    assert plan.num_units <= num_other / arguments["draws_per_unit"] + num_coverage + 2
    assert len({tuple(unit) for unit in plan.units}) == plan.num_units, "a unit is read once"
    assert plan.total.any(axis=1).all(), "no unit is read for nothing"
    assert (plan.draws >= 0).all() and set(np.unique(plan.coverage)) <= {0, 1}
    by_region, covered = np.zeros(regions.shape, int), np.zeros(regions.shape, int)
    for (image, row, column), total, coverage in zip(plan.units, plan.total, plan.coverage, strict=True):
        there = counts[image, row * a : (row + 1) * a, column * b : (column + 1) * b].sum(axis=(0, 1))
        assert not total[there == 0].any(), "no class is drawn where it has no pixel"
        by_region[image] += total
        covered[image] += coverage
    assert ((by_region > 0) == regions).all()
    assert covered.max() <= 1


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_units_read_are_no_more_than_the_draws_ask_for(alpha: float) -> None:
    """1,024 units, one class a ramp: 4,000 draws at 32 a unit read 125, and one for the top-up."""
    counts = np.full((4, 16, 16, 2), 200, np.uint16)
    counts[..., 1] = np.arange(16)
    for seed in range(5):
        plan = plan_epoch(
            counts, seed=seed, epoch=0, alpha=alpha, draws=4000, draws_per_unit=32.0, unit_tiles=DENSE
        )
        assert plan.num_draws == 4000 and not plan.coverage.any()
        assert plan.num_units <= 126


@LAYOUTS
def test_ample_draws_need_no_coverage_draw_and_scarce_ones_do(unit_tiles: tuple[int, int]) -> None:
    assert not plan_of(MASKS, draws=20000, unit_tiles=unit_tiles).coverage.any()
    scarce = plan_of(MASKS, draws=20, unit_tiles=unit_tiles)
    assert scarce.coverage.any() and scarce.draws.any()


def test_coverage_draw_is_uniform_over_its_region() -> None:
    """One draw a region leaves only coverage draws, one of them in class 1 of image 0: Pearson applies."""
    draws = len(regions_of(MASKS))
    tile = np.arange(40)[:, None] // 16 * 3 + np.arange(44) // 16  # [H, W]
    pixels = np.bincount(tile[MASKS[0] == 1], minlength=9)
    assert len(set(pixels[pixels > 0])) > 2, "units of different weight"
    seen = np.zeros(9)
    num_seeds = 600
    for seed in range(num_seeds):
        plan = plan_of(MASKS, seed=seed, draws=draws)
        assert not plan.draws.any()
        _, row, column = plan.units[(plan.coverage[:, 1] > 0) & (plan.units[:, 0] == 0)].T
        seen[row * 3 + column] += 1
    expected = num_seeds * pixels / pixels.sum()
    assert expected[pixels > 0].min() > 5 and seen.sum() == num_seeds
    statistic = ((seen - expected)[pixels > 0] ** 2 / expected[pixels > 0]).sum()
    assert statistic < chi_square_critical(int(np.count_nonzero(pixels)) - 1, z=3.1)


@pytest.mark.parametrize(
    ("alpha", "unit_tiles"),
    [
        pytest.param(alpha, tiles, id=f"{name}-{alpha}", marks=marks)
        for alpha, tiles, name, marks in (
            (0.5, DENSE, "dense", ()),
            (0.0, PYRAMID, "pyramid", ()),
            *((alpha, DENSE, "dense", pytest.mark.slow) for alpha in (0.0, 1.0)),
            *((alpha, PYRAMID, "pyramid", pytest.mark.slow) for alpha in (0.5, 1.0)),
        )
    ],
)
def test_class_mix_is_frequency_to_the_alpha(alpha: float, unit_tiles: tuple[int, int]) -> None:
    """Each class's excess over its share has mean 0 over independent seeds, by its own standard error."""
    frequency = np.bincount(MASKS.ravel(), minlength=NUM_CLASSES)[:NUM_CLASSES] / MASKS.size
    present = frequency > 0
    mix = np.where(present, frequency**alpha, 0)
    mix /= mix.sum()
    plans = [plan_of(MASKS, seed=s, alpha=alpha, draws=400, unit_tiles=unit_tiles) for s in range(300)]
    totals = np.array([plan.draws.sum(axis=0) for plan in plans])  # [seeds, K]
    excess = totals - totals.sum(axis=1, keepdims=True) * mix
    error = excess.std(axis=0, ddof=1) / len(excess) ** 0.5
    assert (np.abs(excess.mean(axis=0)) < 4 * error + 1e-9).all()
    assert error.max() < 0.005 * 400, "the test is sharp: half a percent of the draws"
    assert not totals[:, ~present].any()


def test_images_are_read_in_proportion() -> None:
    """Six equal images: the units of each differ by one at most, and by one more for the top-up."""
    masks = np.repeat(MASKS[:1], 6, axis=0)
    for seed in range(30):
        plan = plan_of(masks, seed=seed, draws=400)
        units = np.bincount(plan.units[:, 0], minlength=6)
        assert np.ptp(units) <= 2 and plan.num_units < 6 * 9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("alpha", "draws", "draws_per_unit", "unit_tiles"),
    [
        (1.0, 500, 30.0, DENSE),  # inclusion below 1 nearly everywhere; class 2 often needs coverage
        (0.3, 150, 12.0, DENSE),  # rare classes raise their units' inclusion, up to 1
        (0.5, 300, 40.0, PYRAMID),
    ],
)
def test_planned_draws_are_uniform_inside_a_class(
    alpha: float, draws: int, draws_per_unit: float, unit_tiles: tuple[int, int]
) -> None:
    """Every pixel of class 2, in whatever unit and image, expects the same draws, coverage draws apart."""
    pixels = np.flatnonzero(MASKS == 2)
    height, width = 16 * unit_tiles[0], 16 * unit_tiles[1]
    index = np.arange(MASKS.size).reshape(MASKS.shape)
    num_seeds = 2000
    samples = np.zeros((num_seeds, MASKS.size), np.int16)
    num_coverage = 0
    for seed in range(num_seeds):
        plan = plan_of(
            MASKS, seed=seed, alpha=alpha, draws=draws, draws_per_unit=draws_per_unit, unit_tiles=unit_tiles
        )
        num_coverage += int(plan.coverage[:, 2].sum())
        only_class_2 = plan.draws * (np.arange(NUM_CLASSES) == 2)
        for u in np.flatnonzero(only_class_2.any(axis=1)):
            image, row, column = (int(v) for v in plan.units[u])
            where = np.s_[image, row * height : (row + 1) * height, column * width : (column + 1) * width]
            chosen = choose_pixels(
                MASKS[where], only_class_2[u], seed=seed, epoch=0, unit=(image, row, column), members=1
            )
            np.add.at(samples[seed], index[where].ravel()[chosen[0]], 1)
    assert samples.sum() == samples[:, pixels].sum() > 2 * num_seeds
    assert num_coverage > 0 or alpha < 1, "the first row has coverage draws to leave out"
    statistic, degrees = equal_means_statistic(samples[:, pixels].astype(float))
    assert degrees == len(pixels) - 1 > 20
    assert statistic < chi_square_critical(degrees, z=3.1)


def test_another_seed_or_epoch_is_another_plan_and_the_same_ones_the_same() -> None:
    first = plan_of(MASKS, seed=1, epoch=2)
    again = plan_of(MASKS, seed=1, epoch=2)
    assert (first.units == again.units).all() and (first.total == again.total).all()
    for other in (
        plan_of(MASKS, seed=2, epoch=2),
        plan_of(MASKS, seed=1, epoch=3),
        plan_of(MASKS, seed=2, epoch=1),
    ):
        assert first.units.shape != other.units.shape or (first.units != other.units).any()


def test_units_are_read_in_random_order() -> None:
    images = plan_of(MASKS, draws=3000).units[:, 0]
    assert np.count_nonzero(np.diff(images)) > 5  # three runs, two changes, if sorted
