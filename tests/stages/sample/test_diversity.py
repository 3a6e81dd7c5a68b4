"""Choosing by spread and by doubt, against trying every choice."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stages.sample import diversity
from pipeline.stages.sample.diversity import farthest_points, least_certain

seeds = st.integers(0, 2**31)


def radius(points: np.ndarray, chosen: np.ndarray | tuple[int, ...]) -> float:
    """The largest distance of any point to its nearest chosen one."""
    differences = points[:, None].astype(np.float64) - points[list(chosen)]
    return float(np.sqrt((differences**2).sum(2)).min(1).max())


@given(seeds, st.integers(2, 9), st.integers(1, 3), st.data())
def test_no_choice_covers_twice_as_well(seed: int, count: int, size: int, data: st.DataObject) -> None:
    points = np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)
    num = data.draw(st.integers(1, count))
    chosen = farthest_points(points, num)
    assert len(set(chosen.tolist())) == num
    best = min(radius(points, every) for every in combinations(range(count), num))
    # The proof is of greedy choice from any first point, so it holds for the mean's neighbour.
    assert radius(points, chosen) <= 2 * best + 1e-6


@given(seeds, st.integers(1, 40), st.data())
def test_each_is_the_farthest_from_those_before_it(seed: int, count: int, data: st.DataObject) -> None:
    points = np.random.default_rng(seed).integers(0, 4, (count, 2)).astype(np.float32)  # many at one place
    num = data.draw(st.integers(1, count))
    chosen = farthest_points(points, num).tolist()
    mean = points.mean(0, dtype=np.float64)
    assert chosen[0] == np.square(points - mean).sum(1).argmin()
    for place in range(1, num):
        before = points[chosen[:place], None].astype(np.float64)
        distance = np.square(points[None] - before).sum(2).min(0)
        distance[chosen[:place]] = -1
        assert chosen[place] == distance.argmax()  # of equal ones the lowest index


@given(seeds, st.integers(3, 30), st.data())
def test_what_is_chosen_already_is_gone_on_from(seed: int, count: int, data: st.DataObject) -> None:
    points = np.random.default_rng(seed).standard_normal((count, 3)).astype(np.float32)
    num = data.draw(st.integers(2, count))
    first = data.draw(st.integers(1, num - 1))
    whole = farthest_points(points, num)
    left = np.setdiff1d(np.arange(count), whole[:first])
    more = farthest_points(points[left], num - first, points[whole[:first]])
    assert left[more].tolist() == whole[first:].tolist()


def test_blocks_of_points_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    whole = farthest_points(points, 20)
    monkeypatch.setattr(diversity, "BLOCK", 7)
    assert np.array_equal(farthest_points(points, 20), whole)
    assert np.array_equal(farthest_points(points, 5), whole[:5])


def test_the_least_certain_come_first_and_failed_pictures_last() -> None:
    scores = np.array([0.1, np.nan, 0.3, 0.3, np.inf, 0.2], np.float32)
    assert least_certain(scores, 6).tolist() == [2, 3, 5, 0, 1, 4]
    assert least_certain(scores, 2).tolist() == [2, 3]


@pytest.mark.parametrize("num", [0, 4])
def test_more_than_there_are_is_refused(num: int) -> None:
    with pytest.raises(ValueError, match=f"num is {num}; expected 1 to 3"):
        farthest_points(np.zeros((3, 2)), num)
    with pytest.raises(ValueError, match=f"num is {num}; expected 1 to 3"):
        least_certain(np.zeros(3), num)
