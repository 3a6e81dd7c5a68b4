"""The batches of a translator: which images meet, one crop of both of a pair, the centre to measure on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.translators import domains, prepared, write_domains

from pipeline.translate.crops import cropped, drawn_crop
from pipeline.translate.training.batches import BatchPlan


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_domains(tmp_path_factory.mktemp("data"), num=7)


def plan_of(data: Path, **settings: object) -> BatchPlan:
    return prepared(data, data / "out", **settings).batches


def test_partners_meet_under_one_crop(data: Path) -> None:
    """The target is the source inverted, so the same crop of both has values that add up to 255."""
    plan = plan_of(data, paired=True, source_crop=0.4, target_crop=0.9)
    num = 0
    for source, target in plan.batches(epoch=1):
        total = source.numpy().astype(int) + target.numpy()
        assert np.abs(total - 255).max() <= 1  # rounding of either
        num += len(source)
    assert num == plan.num_steps * 2 == 6


def test_without_pairs_sides_have_orders_and_crops_of_their_own(data: Path) -> None:
    plan = plan_of(data, source_crop=0.9, target_crop=0.5)
    images = domains(7)
    orders = plan.orders(2)
    assert not np.array_equal(*orders)
    for step, both in enumerate(plan.batches(epoch=2)):
        for side, (found, least) in enumerate(zip(both, (0.9, 0.5), strict=True)):
            for row, picture in enumerate(found.numpy().transpose(0, 2, 3, 1)):
                crop = drawn_crop(least, 0, 2, step * 2 + row, side)
                expected = cropped(images[side][orders[side][step, row]], crop, 16)
                assert np.array_equal(picture, expected)


def test_images_that_validate_are_never_learnt(data: Path) -> None:
    plan = plan_of(data, held_out=0.3)
    for epoch in range(4):
        for order, split in zip(plan.orders(epoch), plan.splits, strict=True):
            assert set(order.ravel().tolist()) == set(split.training)


def test_a_later_batch_is_the_same_without_the_earlier_ones(data: Path) -> None:
    plan = plan_of(data)
    *_, expected = plan.batches(3)
    (found,) = plan.batches(3, first=plan.num_steps - 1)
    assert all((one == other).all() for one, other in zip(found, expected, strict=True))


def test_centres_are_whole_pictures_and_sides_may_differ_in_number(data: Path) -> None:
    source, target = plan_of(data).centres(((1, 4), ()))
    assert np.array_equal(source.numpy().transpose(0, 2, 3, 1), domains(7)[0][[1, 4]])
    assert target.shape == (0, 3, 16, 16)


def test_a_picture_is_read_when_its_batch_is_made(data: Path) -> None:
    plan = plan_of(data, batch_size=1)
    read: list[int] = []

    def reading(places: object) -> list[np.ndarray]:
        read.extend(places)  # type: ignore[call-overload]
        return source.read(places)  # type: ignore[arg-type]

    source, target = plan.sides
    watched = replace(plan, sides=(replace(source, read=reading), target))
    batches = watched.batches(0)
    next(batches)
    assert len(read) <= 4
    batches.close()
