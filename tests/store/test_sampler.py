"""The sampler's promises: coverage, equal chances, determinism, bounded memory and reads."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from support.sampling import (
    IGNORE,
    LAYOUTS,
    MASKS,
    NUM_CLASSES,
    PYRAMID,
    FakeStore,
    chi_square_critical,
    drawn,
    equal_means_statistic,
    make_store,
    plan_of,
    regions_of,
)

from fstore.errors import CorruptionError, StoreError
from fstore.sampler import Batch, StratifiedChunkSampler


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
