"""Which pixels of a unit are drawn: each once before any twice, uniformly, for each member by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support.sampling import IGNORE, MASKS, chi_square_critical

from fstore.plan import choose_pixels


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
