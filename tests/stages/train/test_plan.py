"""What a training run will do: the split, the validation pixels, the stopping rule, the dry run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.interpreter.description import EpochMetrics
from pipeline.models.interpreter import InterpreterEnsemble
from pipeline.settings.schema import TrainConfig
from pipeline.stages.train.memory import AUTO_CACHE_BYTES, MemoryPlan, share_memory
from pipeline.stages.train.plan import TrainPlan
from pipeline.stages.train.schedule import best_epoch, epoch_name, is_stopped, rate_shares
from pipeline.stages.train.split import Split, choose_validation, split_images

presences = st.tuples(st.integers(0, 12), st.integers(1, 5)).flatmap(lambda shape: arrays(bool, shape))
fractions = st.floats(0, 0.99)
seeds = st.integers(0, 2**63 - 1)


@given(presences, fractions, seeds)
def test_a_split_is_disjoint_covers_labelled_images_and_has_the_asked_size(
    present: np.ndarray, held_out: float, seed: int
) -> None:
    split = split_images(present, held_out, seed)
    labelled = np.flatnonzero(present.any(axis=1)).tolist()
    assert sorted(split.training + split.held_out) == labelled
    assert split.training == tuple(sorted(split.training))
    if held_out == 0 or len(labelled) < 2:
        assert split.held_out == ()
    else:
        assert len(split.held_out) == min(max(1, round(held_out * len(labelled))), len(labelled) - 1)
    assert split == split_images(present, held_out, seed)


@given(seeds)
def test_an_image_that_alone_has_a_class_stays_in_training(seed: int) -> None:
    present = np.ones((8, 3), dtype=bool)
    present[:, 2] = False
    present[5, 2] = True
    assert 5 in split_images(present, 0.25, seed).training


def test_the_split_depends_on_the_seed() -> None:
    present = np.ones((40, 2), dtype=bool)
    assert len({split_images(present, 0.2, seed) for seed in range(5)}) == 5


masks = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 255]))
)


@given(masks, st.integers(1, 60), seeds)
def test_validation_pixels_are_distinct_and_never_ignored(mask: np.ndarray, count: int, seed: int) -> None:
    drawable = np.array([True, True, False])  # class 2 is the ignore label
    positions = [7, 3, 9][: len(mask)]
    chosen = choose_validation(mask, positions, drawable, count, seed)
    assert len(chosen.labels) == min(count, int((mask < 2).sum()))
    pixels = list(zip(chosen.images.tolist(), chosen.rows.tolist(), chosen.columns.tolist(), strict=True))
    assert len(set(pixels)) == len(pixels)
    for (image, row, column), label in zip(pixels, chosen.labels, strict=True):
        assert label == mask[positions.index(image), row, column]
        assert label < 2


def test_validation_pixels_are_uniform() -> None:
    mask = np.zeros((1, 5, 5), dtype=np.uint8)
    times_chosen = np.zeros((5, 5))
    for seed in range(2000):
        chosen = choose_validation(mask, [0], np.array([True]), 5, seed)
        times_chosen[chosen.rows, chosen.columns] += 1
    assert abs(times_chosen - 400).max() < 5 * np.sqrt(2000 * 0.2 * 0.8)


def epochs(*quality: float, held_out: bool = True) -> list[EpochMetrics]:
    rows = enumerate(quality)
    return [EpochMetrics(e, 10 * (e + 1), 1.0 if held_out else q, q if held_out else None) for e, q in rows]


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        (epochs(0.1, 0.5, 0.4), 1),
        (epochs(0.1, 0.5, 0.5), 1),  # the first of equals
        (epochs(0.9, 0.5, 0.7, held_out=False), 1),  # a loss: lower is better
    ],
)
def test_the_best_epoch(metrics: list[EpochMetrics], expected: int) -> None:
    assert best_epoch(metrics) == expected


@pytest.mark.parametrize(
    ("metrics", "config", "finished"),
    [
        ([], TrainConfig(), False),
        (epochs(0.5, 0.4, 0.4), TrainConfig(patience=3), False),
        (epochs(0.5, 0.4, 0.4, 0.5), TrainConfig(patience=3), True),  # equal is not better
        (epochs(0.5, 0.4, 0.4, 0.6), TrainConfig(patience=3), False),
        (epochs(0.1, 0.2), TrainConfig(max_epochs=2), True),
        (epochs(0.1, 0.2), TrainConfig(max_epochs=2, steps=21), False),  # steps overrule epochs
        (epochs(*[0.1] * 9), TrainConfig(patience=1, steps=91), False),  # and patience
        (epochs(0.1, 0.2), TrainConfig(steps=20), True),
    ],
)
def test_the_stopping_rule(metrics: list[EpochMetrics], config: TrainConfig, finished: bool) -> None:
    assert is_stopped(metrics, config) is finished


PLAN = TrainPlan(
    split=Split((0, 1, 2, 3), (4,)),
    config=TrainConfig(subspace="off"),
    channels=5088,
    widths=(256, 128),
    num_classes=34,
    steps_per_epoch=2048,
    epoch_bytes=10**10,
    unit_bytes=16 * 16 * 5088 * 2,
    unit_pixels=256,
    unit_draws=190,
    mask_bytes=16 * 512 * 512,
    pyramid_bytes=0,
    validation_pixels=20000,
    missing_classes=(),
)


def test_the_planned_weights_are_those_of_the_ensemble() -> None:
    plan = replace(PLAN, channels=50, widths=(7, 6), num_classes=4)
    ensemble = InterpreterEnsemble(4, 50, seeds=[0] * 10, widths=(7, 6))
    assert plan.weight_bytes == sum(p.numel() * p.element_size() for p in ensemble.parameters())


def memory_of(plan: TrainPlan) -> MemoryPlan:
    return share_memory(
        plan.demand(on_gpu=False), budget=None, buffer_mb=None, cache_limit=AUTO_CACHE_BYTES, threads=2
    )


@pytest.mark.parametrize("pyramid_bytes", [0, 16 * 82_500_000], ids=["dense", "pyramid in memory"])
def test_a_dry_run_at_full_size_promises_less_than_three_gigabytes(pyramid_bytes: int) -> None:
    plan = replace(PLAN, pyramid_bytes=pyramid_bytes)
    memory = memory_of(plan)
    lines = plan.lines(memory, free_bytes=10**10)
    assert memory.cached == (pyramid_bytes > 0)
    assert memory.host_bytes < 3 * 2**30
    text = "\n".join(lines)
    for expected in (
        "10 members of 5088 -> 256 -> 128 -> 34",
        "4 for training, 1 held out (4)",
        "2,048 steps of 10 x 64 pixels, reads 10 GB",
        "3 epochs without a better mIoU, or after 30 epochs",
        "10 GB free",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("members", "mib"),
    [
        (1, 160),  # a unit, which is the band of 16,384 pixels, and 63 pixels that fill no batch
        (10, 255),  # 10 x (2560 + 63) pixels of 10,176 bytes
        (50, 512),  # as large as it is where there is no budget
    ],
)
def test_the_least_buffer_mixes_bands(members: int, mib: int) -> None:
    plan = replace(PLAN, unit_pixels=32 * 512, config=replace(PLAN.config, members=members))
    assert -(-plan.demand(on_gpu=False).least_buffer_bytes // 2**20) == mib


def test_a_dry_run_with_given_steps_says_so() -> None:
    lines = replace(PLAN, config=TrainConfig(steps=500, subspace="0.999"), split=Split((0,), ())).lines(
        memory_of(PLAN)
    )
    assert any(line.endswith("after 500 steps") for line in lines)
    assert any("99.9% of the energy" in line for line in lines) and not any("reads" in line for line in lines)
    assert any("none held out" in line for line in lines)


@given(st.integers(1, 300), st.integers(1, 80), st.floats(0, 1))
def test_the_rate_is_whole_and_then_falls_evenly_to_zero(total: int, per_epoch: int, part: float) -> None:
    shares: list[float] = []
    while len(shares) < total:  # in epochs, as a resumed run has them
        shares += rate_shares(total - len(shares), part * total, min(per_epoch, total - len(shares)))
    falling = part * total
    expected = [min(1.0, (total - i) / falling) if falling else 1.0 for i in range(total)]
    assert shares == expected
    assert shares[0] == 1 and min(shares) > 0
    assert sum(shares) == pytest.approx(total - falling / 2, abs=1)  # the area of a trapezoid


@pytest.mark.parametrize(
    ("metrics", "config", "expected"),
    [
        ([], TrainConfig(), "epoch 1 of at most 30"),
        (epochs(0.1, 0.2, 0.3, 0.9), TrainConfig(), "epoch 5 of at most 30, best 4"),
        (epochs(0.9, 0.2), TrainConfig(max_epochs=4), "epoch 3 of at most 4, best 1"),
        (epochs(0.9, 0.1, 0.1, 0.1), TrainConfig(), "final epoch 1 of 3"),
        (
            [*epochs(0.9, 0.1, 0.1, 0.1), EpochMetrics(4, 50, 1.0, None, final=True)],
            TrainConfig(),
            "final epoch 2 of 3",
        ),
        (epochs(0.2, 0.1), TrainConfig(steps=45), "epoch 3 of 5, best 1"),  # of 10 steps, the last of 5
        (epochs(*[0.1] * 4), TrainConfig(steps=45), "epoch 5 of 5, best 1"),
    ],
)
def test_an_epoch_is_named_for_people(
    metrics: list[EpochMetrics], config: TrainConfig, expected: str
) -> None:
    assert epoch_name(metrics, config, steps_per_epoch=10, final_epochs=3) == expected
