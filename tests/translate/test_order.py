"""Orders and splits: everything comes, nothing twice before its time, and both are functions of the seed."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.translate.order import epoch_order, num_steps, split


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 20), st.integers(0, 99), st.integers(0, 9))
def test_an_epoch_shows_each_image_of_the_larger_side_and_repeats_none_early(
    num_source: int, num_target: int, batch_size: int, seed: int, epoch: int
) -> None:
    length = num_steps(num_source, num_target, batch_size) * batch_size
    assert max(num_source, num_target) <= length < max(num_source, num_target) + batch_size
    for num, part in ((num_source, 0), (num_target, 1)):
        order = epoch_order(num, length, seed, epoch, part)
        assert len(order) == length
        times = np.bincount(order, minlength=num)
        assert times.max() - times.min() <= 1
        for start in range(0, length, num):
            turn = order[start : start + num]
            assert len(set(turn.tolist())) == len(turn)


def test_orders_differ_between_sides_and_epochs_and_seeds() -> None:
    keys = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    assert len({tuple(epoch_order(30, 30, *key).tolist()) for key in keys}) == 4


@given(st.integers(1, 200), st.floats(0, 0.99), st.integers(0, 99), st.integers(0, 2))
def test_a_split_holds_out_its_share_and_never_all(num: int, held_out: float, seed: int, part: int) -> None:
    found = split(num, held_out, seed, part)
    assert sorted((*found.training, *found.validation)) == list(range(num))
    assert found.training and list(found.training) == sorted(found.training)
    if held_out == 0 or num == 1:
        assert not found.validation
    else:
        assert len(found.validation) == min(max(1, round(held_out * num)), num - 1)
    assert found == split(num, held_out, seed, part)


def test_splits_of_the_two_sides_differ() -> None:
    assert split(100, 0.3, 0, 0) != split(100, 0.3, 0, 1)
