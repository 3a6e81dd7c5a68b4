"""The order of images, and batches that are made ahead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fstore.errors import StoreError
from pipeline.segment.training.augmentation import Augmentation
from pipeline.segment.training.batches import BatchPlan
from pipeline.segment.training.data import TrainingImages
from pipeline.segment.training.sample import Sample


class Numbered:
    """Images whose pixels are their number."""

    def __init__(self, first: int, number: int) -> None:
        self.name, self.first, self.number = f"from {first}", first, number
        self.record: Mapping[str, Any] = {"num_images": number}

    def __len__(self) -> int:
        return self.number

    def read(self, places: Sequence[int]) -> list[Sample]:
        values = [self.first + place for place in places]
        return [Sample(np.full((4, 6, 3), v, np.uint8), labels=np.full((4, 6), v)) for v in values]

    def check_unchanged(self) -> None:
        raise StoreError(f"{self.name} has changed")


def make_plan(*numbers: int, batch_size: int = 4, seed: int = 0) -> BatchPlan:
    firsts = np.cumsum([0, *numbers])
    sources = tuple(Numbered(int(first), number) for first, number in zip(firsts, numbers, strict=False))
    return BatchPlan(TrainingImages(sources), (4, 6), Augmentation(np.arange(200)), batch_size, seed)


@given(st.integers(4, 60), st.integers(2, 4), st.integers(0, 3), st.integers(0, 3))
def test_an_epoch_has_every_image_once_but_for_what_fills_no_batch(
    number: int, batch_size: int, seed: int, epoch: int
) -> None:
    order = make_plan(number, batch_size=batch_size, seed=seed).order(epoch)
    assert order.shape == (number // batch_size, batch_size)
    assert len(set(order.flat)) == order.size
    assert set(order.flat) <= set(range(number))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {tuple(make_plan(40, seed=seed).order(epoch).flat) for seed in (0, 1) for epoch in (0, 1)}
    assert len(orders) == 4
    assert tuple(make_plan(40).order(1).flat) in orders


def test_batches_hold_the_images_of_the_order_from_all_sources() -> None:
    plan = make_plan(5, 6, 9)
    order = plan.order(2)
    for batch, places in zip(plan.batches(2, first=1), order[1:], strict=True):
        assert batch.images.shape == (4, 3, 4, 6)
        assert batch.images[:, 0, 0, 0].tolist() == places.tolist()
        assert batch.targets[:, 3, 5].tolist() == places.tolist()


def test_a_changed_source_is_told() -> None:
    with pytest.raises(StoreError, match="from 0 has changed"):
        make_plan(5, 6).images.check_unchanged()
    assert make_plan(5, 6).images.record == {"from 0": {"num_images": 5}, "from 5": {"num_images": 6}}
