"""Shares of classes, warnings of rare ones and confused classes, against numbers that are counted by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.quality.frequencies import ConfusedPair, confused_pairs, frequencies, rare_classes, shares

NAMES = ("skin", "hat", "ring")


def counts(*images: tuple[int, ...]) -> np.ndarray:
    return np.array(images, np.int64).reshape(-1, len(images[0]))


def warned(*args: np.ndarray | None) -> list[str]:
    return [warning.text for warning in rare_classes(frequencies(*args), NAMES)]


def test_shares_of_pixels_and_of_images() -> None:
    found = shares(counts((6, 2, 0), (8, 0, 0)))
    assert found.num_images == 2
    assert found.showing.tolist() == [2, 1, 0]
    assert found.images.tolist() == [1, 0.5, 0]
    assert found.pixels.tolist() == [14 / 16, 2 / 16, 0]


def test_shares_beside_the_annotated_set_are_of_the_kept_images() -> None:
    found = frequencies(
        counts((6, 2, 0), (8, 0, 0), (0, 8, 0)), np.array([True, True, False]), counts((4, 4, 0), (8, 0, 0))
    )
    assert found.ratio[:2].tolist() == [14 / 16 / (12 / 16), 2 / 16 / (4 / 16)]
    assert np.isnan(found.ratio[2])  # shown nowhere
    assert found.lost[:2].tolist() == [0, 8 / 10]
    assert np.isnan(found.lost[2])


def test_without_a_filter_or_the_annotated_set_all_images_are_compared_with_nothing() -> None:
    found = frequencies(counts((6, 2, 1)))
    assert found.used is found.all
    assert np.isnan(found.ratio).all() and np.isnan(found.lost).all()
    assert rare_classes(found, NAMES) == []


def test_a_class_that_nobody_annotated_has_an_infinite_ratio() -> None:
    assert frequencies(counts((6, 2, 0)), annotated=counts((8, 0, 0))).ratio[1] == np.inf


def test_no_image_kept_gives_no_share() -> None:
    found = frequencies(counts((6, 2, 0)), np.array([False]))
    assert np.isnan(found.used.images).all() and np.isnan(found.used.pixels).all()
    assert found.lost[:2].tolist() == [1, 1]


def test_a_class_in_fewer_than_three_annotated_images_is_named() -> None:
    dataset = counts((5, 5, 5))
    annotated = counts((5, 5, 5), (5, 5, 0), (5, 5, 0), (5, 0, 0))
    assert warned(dataset, None, annotated) == [
        "ring: annotated in 1 image, expected at least 3; annotate more of it"
    ]
    assert warned(dataset, None, annotated[1:]) == [
        "hat: annotated in 2 images, expected at least 3; annotate more of it",
        "ring: annotated in 0 images, expected at least 3; annotate more of it",
    ]
    assert warned(dataset, None, counts((5, 5, 5), (5, 5, 0)))[0].startswith("ring: annotated in 1 image,")
    assert warned(dataset, None, counts((5, 5, 5))) == []  # it is in all images that there are


def test_a_class_that_is_annotated_and_almost_never_made_is_named() -> None:
    annotated = counts(*[(5, 5, 5)] * 4)
    dataset = counts(*[(5, 5, 5)] * 2, *[(5, 5, 0)] * 18)
    assert warned(dataset, None, annotated) == []  # a tenth of its share
    more = np.concatenate([dataset, counts((5, 5, 0))])
    assert warned(more, None, annotated) == [
        "ring: 9.5% of the images show it, and 100% of the annotated ones"
    ]
    kept = np.arange(20) >= 2
    assert "ring: none of the kept images show it, and 100% of the annotated ones" in warned(
        dataset, kept, annotated
    )


def test_a_class_that_the_filter_hits_twice_as_hard_is_named() -> None:
    dataset = counts(*[(5, 5, 20)] * 4, *[(5, 5, 10)] * 12, *[(5, 5, 0)] * 4)
    kept = np.arange(20) >= 4  # 80 of 200 pixels of the ring are lost
    assert warned(dataset, kept) == ["ring: the filter drops 40% of its pixels, and 20% of all images"]
    dataset[-1, 2] += 1
    assert warned(dataset, kept) == []
    few = counts((5, 5, 20), (5, 5, 20), *[(5, 5, 0)] * 8)
    assert warned(few, few[:, 2] == 0) == []  # two images are too few to speak of


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="an entry for each image"):
        frequencies(counts((1, 2, 3)), np.ones(2, bool))
    with pytest.raises(ValueError, match="classes"):
        frequencies(counts((1, 2, 3)), None, counts((1, 2)))


def test_the_share_of_a_confused_pair_is_of_the_votes_in_both_rows() -> None:
    votes = np.array([[90, 10, 0], [20, 60, 0], [0, 10, 10]])
    assert confused_pairs(votes) == [
        ConfusedPair(0, 1, 30, 30 / 180),
        ConfusedPair(1, 2, 10, 10 / 100),
    ]
    assert confused_pairs(votes, at_most=1) == [ConfusedPair(0, 1, 30, 30 / 180)]
    assert confused_pairs(np.diag([5, 6, 0])) == []


@given(st.integers(0, 10**6), st.integers(1, 6))
def test_confused_pairs_are_those_of_brute_force(seed: int, num_classes: int) -> None:
    random = np.random.default_rng(seed)
    votes = random.integers(0, 3, (num_classes, num_classes)) * random.integers(0, 2**31, (1, 1))
    wanted = []
    for a, b in combinations(range(num_classes), 2):
        crossed, whole = int(votes[a, b]) + int(votes[b, a]), sum(map(int, [*votes[a], *votes[b]]))
        if crossed:
            wanted.append((-crossed / whole, a, b, crossed))
    found = confused_pairs(votes.astype(np.uint64), at_most=100)
    assert [(-pair.share, pair.first, pair.second, pair.votes) for pair in found] == sorted(wanted)
