"""Choosing what shows the classes that are annotated least, against trying every choice."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stages.sample.rarity import class_pixels, rarest_first

seeds = st.integers(0, 2**31)


def worth(shown: np.ndarray, annotated: np.ndarray, chosen: tuple[int, ...] | list[int]) -> float:
    """What the choice raises: the sum of the logarithms of what there is of each class."""
    return float(np.log(1 + annotated + shown[list(chosen)].sum(0)).sum())


@given(seeds, st.integers(1, 5), st.integers(1, 3), st.integers(2, 9), st.integers(2, 6))
def test_pixels_of_each_class_are_counted(seed: int, num: int, classes: int, height: int, width: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, (num, height, width)).astype(np.uint8)
    weights = random.random(labels.shape).astype(np.float32)
    expected = [[(label == k).sum() for k in range(classes)] for label in labels]
    assert np.array_equal(class_pixels(labels, classes), expected)
    sums = [
        [w[label == k].sum(dtype=float) for k in range(classes)]
        for label, w in zip(labels, weights, strict=True)
    ]
    np.testing.assert_allclose(class_pixels(labels, classes, weights), sums, atol=1e-12)


def test_labels_beyond_the_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="labels are 0 to 3; expected 0 to 2"):
        class_pixels(np.array([[[0, 3]]], np.uint8), 3)


@given(seeds, st.integers(8, 60))
def test_the_eight_images_that_show_a_class_that_is_rare_are_the_eight_chosen(seed: int, num: int) -> None:
    random = np.random.default_rng(seed)
    shown = np.zeros((num, 3))
    shown[:, 0], shown[:, 1] = 1000, random.integers(100, 110, num)
    which = random.choice(num, 8, replace=False)
    shown[which, 2] = random.integers(5, 50, 8)
    chosen = rarest_first(shown, np.array([8000.0, 80000.0, 2.0]), 8)
    assert sorted(chosen.tolist()) == sorted(which.tolist())


@given(seeds, st.integers(1, 12), st.integers(1, 4), st.data())
def test_each_adds_most_to_those_before_it(seed: int, count: int, classes: int, data: st.DataObject) -> None:
    random = np.random.default_rng(seed)
    shown = random.integers(0, 4, (count, classes)) * 10.0  # many are alike
    annotated = random.integers(0, 3, classes) * 7.0
    num = data.draw(st.integers(1, count))
    chosen = rarest_first(shown, annotated, num).tolist()
    assert len(set(chosen)) == num
    for place, image in enumerate(chosen):
        left = [i for i in range(count) if i not in chosen[:place]]
        gains = {i: worth(shown, annotated, [*chosen[:place], i]) for i in left}
        best = max(gains.values())
        assert gains[image] == pytest.approx(best, abs=1e-9)
        same = [i for i in left if np.array_equal(shown[i], shown[image])]
        assert image == same[0]  # of equal ones the lowest index


@given(seeds, st.integers(2, 8), st.integers(1, 3), st.integers(1, 4))
def test_no_choice_adds_much_more(seed: int, count: int, num: int, classes: int) -> None:
    num = min(num, count)
    shown = np.random.default_rng(seed).exponential(20, (count, classes))
    annotated = np.arange(classes) * 30.0
    before = worth(shown, annotated, [])
    added = worth(shown, annotated, rarest_first(shown, annotated, num).tolist()) - before
    best = max(worth(shown, annotated, every) for every in combinations(range(count), num)) - before
    assert added >= (1 - 1 / np.e) * best - 1e-9


def test_failed_pictures_come_last_and_by_number() -> None:
    shown = np.array([[np.nan, 9.0], [0.0, 0.0], [np.inf, 1.0], [0.0, 5.0]])
    assert rarest_first(shown, np.zeros(2), 4).tolist() == [3, 1, 0, 2]
    assert rarest_first(shown, np.zeros(2), 3).tolist() == [3, 1, 0]
    assert rarest_first(shown[[0, 2]], np.zeros(2), 1).tolist() == [0]


def test_the_same_images_in_the_same_order_every_time() -> None:
    shown = np.random.default_rng(0).exponential(50, (160, 11))
    first = rarest_first(shown, np.arange(11.0), 8)
    assert np.array_equal(rarest_first(shown, np.arange(11.0), 8), first)
    assert np.array_equal(rarest_first(shown, np.arange(11.0), 3), first[:3])


@pytest.mark.parametrize(
    ("num", "classes", "says"),
    [
        (0, 2, "num is 0; expected 1 to 3"),
        (4, 2, "num is 4; expected 1 to 3"),
        (1, 3, "annotated has shape"),
    ],
)
def test_what_does_not_fit_is_refused(num: int, classes: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        rarest_first(np.ones((3, 2)), np.ones(classes), num)
