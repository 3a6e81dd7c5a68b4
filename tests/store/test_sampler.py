"""The sampler's promises: coverage, class mix, equal chances, determinism, bounded memory and reads."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fstore.errors import CorruptionError, StoreError
from fstore.format import class_counts
from fstore.plan import EpochPlan, choose_pixels, plan_epoch
from fstore.sampler import Batch, StratifiedChunkSampler

IGNORE = 255
DENSE = (1, 1)
PYRAMID = (2, 3)  # a band of 32 rows of a store three tiles wide


@dataclass
class FakeStore:
    """A store whose features are (image, row, column, 0, ...). It notes the units that each call reads."""

    masks: np.ndarray  # [n, H, W]
    num_classes: int
    unit_tiles: tuple[int, int] = DENSE
    ignore: int | None = IGNORE
    channels: int = 3
    read_unit_bytes: int = 0
    reads: list[set[tuple[int, int, int]]] = field(default_factory=list)
    delays: Sequence[float] = (0.0,)

    def __post_init__(self) -> None:
        self.shape = (*self.masks.shape, self.channels)
        self.class_counts = np.stack([class_counts(mask, self.num_classes) for mask in self.masks])
        self.meta: Any = SimpleNamespace(ignore=self.ignore)
        self.read_unit_bytes = self.read_unit_bytes or 64 * self.channels * 2

    def read_masks(self, images: Sequence[int]) -> np.ndarray:
        return self.masks[list(images)]

    def pixels(self, images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        time.sleep(self.delays[len(self.reads) % len(self.delays)])
        height, width = 16 * self.unit_tiles[0], 16 * self.unit_tiles[1]
        self.reads.append(set(zip(images.tolist(), rows // height, columns // width, strict=True)))
        features = np.zeros((len(images), self.channels), np.float16)
        features[:, :3] = np.stack([images, rows, columns], axis=1)
        return features


def make_masks() -> np.ndarray:
    """Three images of 40 x 44 (ragged tiles, width no multiple of 16), six classes.

    Class 1 is half of the left, class 2 sparse, class 3 one pixel of one image, class 4 in image 2 only,
    class 5 absent everywhere; a strip is ignored.
    """
    rng = np.random.default_rng(5)
    masks = np.zeros((3, 40, 44), np.uint8)
    masks[:, :, :18] = rng.integers(0, 2, (3, 40, 18))
    masks[rng.random(masks.shape) < 0.006] = 2
    masks[2, 30:, 30:] = 4
    masks[:, 17:20, :] = IGNORE
    masks[masks == 3] = 0
    masks[1, 39, 43] = 3
    return masks


MASKS = make_masks()
NUM_CLASSES = 6
LAYOUTS = pytest.mark.parametrize("unit_tiles", [DENSE, PYRAMID], ids=["dense", "pyramid"])


def make_store(unit_tiles: tuple[int, int] = DENSE, **changes: Any) -> FakeStore:
    return FakeStore(MASKS, NUM_CLASSES, unit_tiles, **changes)


def regions_of(masks: np.ndarray) -> set[tuple[int, int]]:
    return {(i, int(k)) for i, mask in enumerate(masks) for k in np.unique(mask) if k != IGNORE}


def drawn(batches: Sequence[Batch], member: int) -> tuple[np.ndarray, np.ndarray]:
    """(image, row, column) [d, 3] and label [d] of all that a member drew, decoded from the features."""
    features = np.concatenate([batch.features[member] for batch in batches])
    return features[:, :3].astype(np.int64), np.concatenate([batch.labels[member] for batch in batches])


def plan_of(masks: np.ndarray, **changes: Any) -> EpochPlan:
    counts = np.stack([class_counts(mask, NUM_CLASSES) for mask in masks])
    defaults: dict[str, Any] = dict(
        seed=0, epoch=0, alpha=1.0, draws=100, draws_per_unit=8.0, unit_tiles=DENSE
    )
    return plan_epoch(counts, **(defaults | changes))


def chi_square_critical(degrees: int, z: float) -> float:
    """The value that chi-square exceeds as rarely as a normal exceeds z (Wilson and Hilferty 1931)."""
    spread = 2 / (9 * degrees)
    return degrees * (1 - spread + z * spread**0.5) ** 3


def equal_means_statistic(samples: np.ndarray) -> tuple[float, int]:
    """Hotelling's T-squared of "all columns have one mean", scaled to chi-square; its degrees of freedom.

    Draws of one epoch come in clusters (a unit's pixels are in or out together), so Pearson's statistic,
    which takes single draws to be independent, would not follow chi-square. Epochs of different seeds are
    independent: each is one row of ``samples`` [seeds, pixels], and the covariance of pixels is taken from
    the rows themselves.
    """
    contrasts = samples[:, 1:] - samples[:, :-1]
    num_seeds, degrees = contrasts.shape
    mean = contrasts.mean(axis=0)
    t_squared = num_seeds * mean @ np.linalg.solve(np.cov(contrasts.T), mean)
    return float(t_squared * (num_seeds - degrees) / (num_seeds - 1)), degrees


# The plan: invariants


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


# The choice of pixels


@given(
    labels=st.lists(st.sampled_from([0, 1, 2, 3, IGNORE]), min_size=1, max_size=60),
    per_class=st.lists(st.integers(0, 150), min_size=4, max_size=4),
    seed=st.integers(0, 2**64 - 1),
)
def test_choice_takes_every_pixel_once_before_any_twice(
    labels: list[int], per_class: list[int], seed: int
) -> None:
    mask = np.array([labels], np.uint8)
    draws = np.where(np.isin(np.arange(4), labels), per_class, 0)
    chosen = choose_pixels(mask, draws, seed=seed, epoch=0, unit=(0, 0, 0), members=3)
    assert chosen.shape == (3, draws.sum())
    for positions in chosen:
        times = np.bincount(positions, minlength=len(labels))
        for k in range(4):
            of_class = times[mask[0] == k]
            assert of_class.sum() == draws[k]
            assert draws[k] == 0 or np.ptp(of_class) <= 1
        assert not times[mask[0] == IGNORE].any()


def test_choice_is_uniform_and_independent_between_members() -> None:
    """Two of seven pixels, by two members: every pair of (member 0's, member 1's) pixels equally often."""
    labels = np.array([[1, 0, 1, 1, 1], [1, 1, IGNORE, 0, 1]], np.uint8)
    pixels = np.flatnonzero(labels == 1)
    pairs = np.zeros((10, 10))
    num_seeds = 6000
    for seed in range(num_seeds):
        first, second = choose_pixels(labels, np.array([0, 1]), seed=seed, epoch=4, unit=(0, 0, 1), members=2)
        pairs[first[0], second[0]] += 1
    seen = pairs[np.ix_(pixels, pixels)]
    expected = num_seeds / seen.size
    assert seen.sum() == num_seeds
    assert ((seen - expected) ** 2 / expected).sum() < chi_square_critical(seen.size - 1, z=3.1)


def test_choice_of_a_member_does_not_depend_on_the_members_after_it() -> None:
    arguments: dict[str, Any] = dict(seed=3, epoch=1, unit=(0, 1, 2))
    draws = np.array([9, 4, 0])
    few = choose_pixels(MASKS[0], draws, members=2, **arguments)
    many = choose_pixels(MASKS[0], draws, members=5, **arguments)
    assert (many[:2] == few).all()
    assert (many[0] != many[1]).any()


def test_choice_differs_between_units_of_equal_labels() -> None:
    labels = np.zeros((16, 16), np.uint8)
    choices = {
        tuple(choose_pixels(labels, np.array([8]), seed=0, epoch=epoch, unit=unit, members=1)[0])
        for unit in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
        for epoch in (0, 1)
    }
    assert len(choices) == 8


def test_choice_takes_labels_of_one_byte_with_256_classes() -> None:
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    draws = np.ones(256, np.int64)
    chosen = choose_pixels(labels, draws, seed=0, epoch=0, unit=(0, 0, 0), members=1)
    assert chosen[0].tolist() == list(range(256))


# The sampler


@LAYOUTS
@pytest.mark.parametrize("draws_per_epoch", [1, 200, 5000], ids=["fewest", "scarce", "ample"])
def test_every_member_draws_from_every_region_every_epoch(
    unit_tiles: tuple[int, int], draws_per_epoch: int
) -> None:
    batch_size = 8 if draws_per_epoch < 5000 else 64
    sampler = StratifiedChunkSampler(
        make_store(unit_tiles),
        batch_size=batch_size,
        members=3,
        draws_per_epoch=draws_per_epoch,
        read_factor=2.0,
    )
    coverage_needed = 0
    for epoch in range(12):
        batches = list(sampler.epoch(epoch))
        coverage_needed += int(sampler.plan(epoch).coverage.sum())
        assert len(batches) == sampler.steps_per_epoch
        for member in range(3):
            position, label = drawn(batches, member)
            assert set(zip(position[:, 0].tolist(), label.tolist(), strict=True)) == regions_of(MASKS)
    assert (coverage_needed > 0) == (draws_per_epoch < 5000)


@LAYOUTS
def test_batches_hold_the_features_and_labels_of_the_planned_pixels(unit_tiles: tuple[int, int]) -> None:
    sampler = StratifiedChunkSampler(make_store(unit_tiles), batch_size=16, members=2, draws_per_epoch=1000)
    batches = list(sampler.epoch(5))
    planned = sampler.plan(5).total.sum(axis=0)
    for batch in batches:
        assert batch.features.shape == (2, 16, 3) and batch.features.dtype == torch.float16
        assert batch.labels.shape == (2, 16) and batch.labels.dtype == np.int64
        named = np.stack(np.unravel_index(batch.pixels, MASKS.shape), axis=-1)
        np.testing.assert_array_equal(batch.features.numpy(), named)
    for member in range(2):
        position, label = drawn(batches, member)
        assert (MASKS[tuple(position.T)] == label).all()
        assert (np.bincount(label, minlength=NUM_CLASSES) == planned).all()


def test_ignore_label_among_the_classes_is_never_drawn() -> None:
    sampler = StratifiedChunkSampler(make_store(ignore=1), batch_size=16, draws_per_epoch=3000, alpha=0)
    _, label = drawn(list(sampler.epoch(0)), 0)
    assert set(label) == {0, 2, 3, 4}


@pytest.mark.slow
@LAYOUTS
def test_emitted_draws_are_uniform_inside_a_class(unit_tiles: tuple[int, int]) -> None:
    """From plan to batch, with draws enough that class 2 needs no coverage, though not all units are read."""
    pixels = np.flatnonzero(MASKS == 2)
    samples = []
    units = set()
    for seed in range(300):
        store = make_store(unit_tiles, read_unit_bytes=60 * 6 * 6)  # 60 draws a unit
        sampler = StratifiedChunkSampler(
            store, batch_size=64, alpha=0.5, seed=seed, draws_per_epoch=1500, read_factor=6.0
        )
        plan = sampler.plan(0)
        assert not plan.coverage[:, 2].any()
        units.add(plan.num_units)
        position, label = drawn(list(sampler.epoch(0)), 0)
        flat = np.ravel_multi_index(tuple(position[label == 2].T), MASKS.shape)
        samples.append(np.bincount(flat, minlength=MASKS.size)[pixels])
    assert unit_tiles == PYRAMID or max(units) < 27
    statistic, degrees = equal_means_statistic(np.array(samples, float))
    # 300 rows leave the covariance uncertain by sqrt(2 / 300), 8%: the tail is longer than chi-square's.
    assert statistic < chi_square_critical(degrees, z=3.1) * 1.15


def test_same_seed_and_epoch_give_the_same_batches_however_slow_the_reads() -> None:
    def batches(delays: Sequence[float], seed: int = 1, epoch: int = 3, threads: int = 1) -> list[Batch]:
        sampler = StratifiedChunkSampler(
            make_store(delays=delays),
            batch_size=16,
            members=2,
            draws_per_epoch=300,
            seed=seed,
            threads=threads,
            units_ahead=2 * threads,
        )
        return list(sampler.epoch(epoch))

    fast, slow = batches((0.0,)), batches((0.004, 0.0, 0.001))
    many = batches((0.004, 0.0, 0.001), threads=5)
    assert len(fast) == len(slow) == len(many) == 19
    for a, b, c in zip(fast, slow, many, strict=True):
        assert torch.equal(a.features, b.features) and (a.labels == b.labels).all()
        assert torch.equal(a.features, c.features) and (a.labels == c.labels).all()
    for other in (batches((0.0,), seed=2), batches((0.0,), epoch=4)):
        assert any((a.features != b.features).any() for a, b in zip(fast, other, strict=True))


def test_members_have_batches_of_their_own() -> None:
    sampler = StratifiedChunkSampler(make_store(), batch_size=16, members=3, draws_per_epoch=2000)
    batches = list(sampler.epoch(0))
    sets = [{tuple(p) for p in drawn(batches, member)[0]} for member in range(3)]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert len(sets[a] - sets[b]) > 100
        same = np.mean([batch.labels[a] == batch.labels[b] for batch in batches])
        assert same < 0.9, "the members are shuffled apart"


def test_members_share_one_pass_over_the_store() -> None:
    store = make_store()
    sampler = StratifiedChunkSampler(store, batch_size=16, members=4, draws_per_epoch=1000)
    list(sampler.epoch(0))
    planned = {tuple(unit) for unit in sampler.plan(0).units.tolist()}
    assert all(len(read) == 1 for read in store.reads), "one call reads one unit"
    assert len(store.reads) == len(planned) and set.union(*store.reads) == planned


@LAYOUTS
@pytest.mark.parametrize("read_factor", [1.0, 4.0, 16.0])
@pytest.mark.parametrize("draws_per_epoch", [40, 600])
def test_bytes_read_stay_within_the_stated_factor(
    unit_tiles: tuple[int, int], read_factor: float, draws_per_epoch: int
) -> None:
    unit_bytes = 256 * unit_tiles[0] * unit_tiles[1] * 6
    store = make_store(unit_tiles, read_unit_bytes=unit_bytes)
    sampler = StratifiedChunkSampler(
        store, batch_size=8, alpha=0.5, draws_per_epoch=draws_per_epoch, read_factor=read_factor
    )
    for epoch in range(5):
        store.reads.clear()
        before = sampler.bytes_read
        used_bytes = sum(batch.features.nbytes for batch in sampler.epoch(epoch))
        really_read_bytes = sum(len(read) for read in store.reads) * unit_bytes
        assert sampler.bytes_read - before == really_read_bytes
        assert really_read_bytes <= read_factor * used_bytes + (len(regions_of(MASKS)) + 1) * unit_bytes
    assert sampler.units_read * unit_bytes == sampler.bytes_read


def test_memory_stays_within_the_stated_bound() -> None:
    """16 KiB a pixel make all else small. The epoch's features are many times what may be held."""
    channels, batch_size, members = 2**13, 8, 2
    pixel_bytes = channels * 2
    store = FakeStore(
        np.zeros((8, 64, 64), np.uint8), 1, channels=channels, read_unit_bytes=32 * pixel_bytes
    )  # 128 tiles
    buffer_bytes = (members * (batch_size - 1) + 256) * pixel_bytes
    sampler = StratifiedChunkSampler(
        store,
        batch_size=batch_size,
        members=members,
        draws_per_epoch=128 * 32,
        read_factor=1.0,
        buffer_bytes=buffer_bytes,
    )
    largest_unit_bytes = int(sampler.plan(0).total.sum(axis=1).max()) * members * pixel_bytes
    batch_bytes = members * batch_size * pixel_bytes
    tracemalloc.start()
    emitted_bytes = 0
    for batch in sampler.epoch(0):
        if emitted_bytes == 0:
            time.sleep(0.1)  # a slow step: time for the reader to run ahead, if it could
        emitted_bytes += batch.features.nbytes
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    bound_bytes = buffer_bytes + 2 * largest_unit_bytes + 2 * batch_bytes + 2**18
    assert emitted_bytes > 8 * bound_bytes
    assert peak_bytes < bound_bytes


def test_small_buffer_emits_the_same_draws_as_a_large_one() -> None:
    """What a full buffer leaves behind is carried over, for every member, and drawn once."""
    least_bytes = (3 * 15 + 256) * 6
    drawn_by = []
    for buffer_bytes in (least_bytes, 2**20):
        sampler = StratifiedChunkSampler(
            make_store(), batch_size=16, members=3, draws_per_epoch=3000, buffer_bytes=buffer_bytes
        )
        batches = list(sampler.epoch(2))
        drawn_by.append([drawn(batches, member) for member in range(3)])
    for (small, small_label), (large, large_label) in zip(*drawn_by, strict=True):
        assert (small != large).any(), "the small buffer had to emit earlier"
        order, other = np.lexsort(small.T), np.lexsort(large.T)
        assert (small[order] == large[other]).all() and (small_label[order] == large_label[other]).all()


def test_batches_mix_units() -> None:
    sampler = StratifiedChunkSampler(make_store(), batch_size=32, draws_per_epoch=2000)
    for batch in sampler.epoch(0):
        image, row, column = batch.features[0, :, :3].numpy().astype(int).T
        assert len(set(zip(image, row // 16, column // 16, strict=True))) > 8


def test_subset_of_images_is_drawn_from_alone() -> None:
    sampler = StratifiedChunkSampler(make_store(), batch_size=16, draws_per_epoch=800, images=[2, 0])
    position, label = drawn(list(sampler.epoch(0)), 0)
    assert set(position[:, 0]) == {0, 2} and 3 not in label
    assert (MASKS[tuple(position.T)] == label).all()


@pytest.mark.parametrize(
    ("draws_per_epoch", "steps"),
    [
        (None, 98),  # 4,884 labelled pixels in batches of 50
        (1, 1),  # 11 regions fit one batch
        (51, 2),
    ],
)
def test_epoch_length_is_draws_in_whole_batches(draws_per_epoch: int | None, steps: int) -> None:
    sampler = StratifiedChunkSampler(make_store(), batch_size=50, draws_per_epoch=draws_per_epoch)
    assert sampler.steps_per_epoch == steps
    assert [len(list(sampler.epoch(epoch))) for epoch in range(3)] == [steps] * 3


def test_abandoned_epoch_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    epoch = StratifiedChunkSampler(make_store(), batch_size=8, buffer_bytes=2000).epoch(0)
    next(iter(epoch))
    assert threading.active_count() == before + 1
    epoch.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_masks_that_contradict_the_class_index_are_reported() -> None:
    store = make_store()
    sampler = StratifiedChunkSampler(store, batch_size=8, draws_per_epoch=2000)
    store.masks = np.zeros_like(MASKS)
    with pytest.raises(CorruptionError, match=r"masks.*has no pixel of class \d"):
        list(sampler.epoch(0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(batch_size=0), "batch_size is 0"),
        (dict(members=0), "members is 0"),
        (dict(threads=0), "threads is 0"),
        (dict(units_ahead=0), "units_ahead is 0"),
        (dict(draws_per_epoch=0), "draws_per_epoch is 0"),
        (dict(read_factor=0.0), "read_factor is 0"),
        (dict(alpha=-0.5), "alpha is -0.5"),
        (dict(alpha=float("nan")), "alpha is nan"),
        (dict(seed=-1), "seed is -1"),
        (dict(images=[]), "images is"),
        (dict(images=[0, 3]), r"images is \[0, 3\].*0 to 2"),
        (dict(images=[1, 1]), "different positions"),
        (
            dict(buffer_bytes=1535),
            "buffer_bytes is 1535: expected 1578 or more",
        ),  # 256 pixels and 7 of 3 channels
    ],
)
def test_arguments_out_of_range_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        StratifiedChunkSampler(make_store(), **(dict(batch_size=8) | arguments))


def test_store_without_labels_is_refused() -> None:
    store = FakeStore(np.full((2, 16, 16), IGNORE, np.uint8), NUM_CLASSES)
    with pytest.raises(StoreError, match="no labelled pixel"):
        StratifiedChunkSampler(store, batch_size=8)


def test_plan_with_fewer_draws_than_regions_is_refused() -> None:
    with pytest.raises(StoreError, match="draws is 10: expected at least 11"):
        plan_of(MASKS, draws=10)
