"""Which images a page carries: both tails, an even spread, kept and dropped ones, some without a score."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reports.selection import chosen_images

SCORES = st.lists(st.one_of(st.just(np.nan), st.floats(0, 10, width=32)), min_size=1, max_size=120)


@given(scores=SCORES, num=st.integers(1, 40), keep=st.randoms(use_true_random=False))
def test_the_images_fill_the_page_and_none_comes_twice(scores: list[float], num: int, keep: object) -> None:
    uncertainty = np.array(scores, np.float32)
    kept = np.array([keep.random() < 0.5 for _ in scores]) & np.isfinite(uncertainty)  # type: ignore[attr-defined]
    chosen = chosen_images(uncertainty, kept, num)
    assert len(chosen) == min(num, len(scores))
    assert len(set(chosen.tolist())) == len(chosen) and (np.diff(chosen) > 0).all()
    assert set(chosen.tolist()) <= set(range(len(scores)))


@given(scores=SCORES, num=st.integers(4, 40), keep=st.randoms(use_true_random=False))
def test_both_tails_are_whole_and_both_kinds_are_there(scores: list[float], num: int, keep: object) -> None:
    uncertainty = np.array(scores, np.float32)
    finite = np.flatnonzero(np.isfinite(uncertainty))
    kept = np.array([keep.random() < 0.5 for _ in scores]) & np.isfinite(uncertainty)  # type: ignore[attr-defined]
    chosen = set(chosen_images(uncertainty, kept, num).tolist())
    order = finite[np.argsort(uncertainty[finite], kind="stable")].tolist()
    tail = (min(num, len(scores)) - min(len(scores) - len(order), max(1, num // 20))) // 4
    tail = min(tail, len(order) // 2)
    assert chosen >= set(order[:tail]) and (not tail or chosen >= set(order[-tail:]))
    num_scored = len(chosen & set(order))
    if num_scored >= 2:
        for kind in (kept, ~kept & np.isfinite(uncertainty)):
            assert not kind.any() or kind[list(chosen)].any()
    if len(order) < len(scores):
        assert not np.isfinite(uncertainty[list(chosen)]).all()


def test_between_the_tails_the_scores_are_evenly_apart() -> None:
    """A quarter each are tails; the other half of the page has even steps of the score, not of the rank."""
    uncertainty = (np.arange(1000) / 1000) ** 3  # most scores are small
    chosen = chosen_images(uncertainty, None, 40)
    assert chosen[:10].tolist() == list(range(10)) and chosen[-10:].tolist() == list(range(990, 1000))
    steps = np.diff(uncertainty[chosen[10:30]])
    assert steps.std() < 0.05 * steps.mean()


def test_a_page_with_room_for_all_has_all() -> None:
    assert chosen_images(np.array([3.0, np.nan, 1.0]), None, 3).tolist() == [0, 1, 2]
