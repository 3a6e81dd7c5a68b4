"""Splits and parts: each image exactly once, exact shares, and a function of the seed and the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import floor
from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.exports.plan import plan_parts, shares, split_images
from pipeline.settings.values import Split

NUMBERS = st.lists(st.integers(0, 10**9 - 1), unique=True, max_size=60).map(sorted)
SEEDS = st.integers(0, 2**63 - 1)


@st.composite
def splits(draw: st.DrawFn) -> Split:
    """Some names whose fractions are hundredths with the sum 1."""
    cuts = sorted(draw(st.sets(st.integers(1, 99), max_size=4)))
    sizes = np.diff([0, *cuts, 100]).tolist()
    return Split.parse(",".join(f"s{i}={size / 100:.2f}" for i, size in enumerate(sizes)))


@given(NUMBERS, splits(), SEEDS)
def test_each_image_is_in_one_split_and_every_split_in_order(
    numbers: list[int], split: Split, seed: int
) -> None:
    plans = split_images(numbers, split, seed)
    assert [plan.name for plan in plans] == [name for name, _ in split.parts]
    assert sorted(place for plan in plans for place in plan.places) == list(range(len(numbers)))
    assert all(list(plan.places) == sorted(plan.places) for plan in plans)


@given(st.integers(0, 10**6), splits())
def test_shares_are_exact_to_less_than_one_image(total: int, split: Split) -> None:
    fractions = [fraction for _, fraction in split.parts]
    found = shares(total, fractions)
    assert sum(found) == total
    for size, fraction in zip(found, fractions, strict=True):
        assert floor(total * fraction) <= size < total * fraction + 1
        if total * fraction == floor(total * fraction):
            assert size == total * fraction


def test_the_largest_remainders_get_one_more() -> None:
    assert shares(10, [Fraction(1, 3), Fraction(1, 3), Fraction(1, 3)]) == [4, 3, 3]
    assert shares(11, [Fraction(66, 100), Fraction(34, 100)]) == [7, 4]


def members(numbers: Sequence[int], split: Split, seed: int) -> list[set[int]]:
    return [{numbers[place] for place in plan.places} for plan in split_images(numbers, split, seed)]


@given(NUMBERS, splits(), SEEDS, st.randoms(use_true_random=False))
def test_which_split_an_image_is_in_does_not_hang_on_its_place(
    numbers: list[int], split: Split, seed: int, random: Random
) -> None:
    other = list(numbers)
    random.shuffle(other)
    assert members(other, split, seed) == members(numbers, split, seed)


def test_another_seed_makes_another_split_of_the_same_sizes() -> None:
    split = Split.parse("train=0.8,val=0.2")
    found = [members(range(1000), split, seed)[1] for seed in range(20)]
    assert all(len(some) == 200 for some in found)
    assert len({frozenset(some) for some in found}) == 20
    counts = np.bincount([number for some in found for number in some], minlength=1000)
    assert abs(np.corrcoef(counts, np.arange(1000))[0, 1]) < 0.15
    assert counts.max() <= 14


def test_a_split_that_was_written_once_stays_the_same() -> None:
    """The numbers of another program version must split alike, or a resumed export would mix two splits."""
    first, second = split_images(range(12), Split.parse("a=0.5,b=0.5"), 7)
    assert (list(first.places), list(second.places)) == ([0, 1, 7, 8, 9, 10], [2, 3, 4, 5, 6, 11])


@given(NUMBERS, st.none() | splits(), st.integers(1, 20))
def test_parts_cover_the_splits_in_order_and_are_bounded(
    numbers: list[int], split: Split | None, part_images: int
) -> None:
    plans = split_images(numbers, split, 0)
    parts = plan_parts(plans, part_images)
    assert [part.index for part in parts] == list(range(len(parts)))
    for plan in plans:
        own = [part for part in parts if part.split == plan.name]
        assert [part.number for part in own] == list(range(len(own)))
        assert all(part.num_parts == len(own) and 1 <= len(part.places) <= part_images for part in own)
        assert [place for part in own for place in part.places] == list(plan.places)
