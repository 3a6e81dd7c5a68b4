"""The released filter's slice, against a twin that does what the released code does, with its lists."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.segment.training.selection import ids_sha256, num_dropped, released_slice


def twin(scores: list[float], keep: Fraction) -> list[int]:
    """The places that a list of images has after the lines of ``train_deeplab.py``, ascending."""
    images: list[dict[str, Any]] = [{"place": i, "uncertrainty_score": s} for i, s in enumerate(scores)]
    by_uncertainty = sorted(images, key=lambda image: image["uncertrainty_score"])
    filter_out = int(len(by_uncertainty) * (1 - keep))
    return sorted(image["place"] for image in by_uncertainty[30 : -filter_out + 30])


SCORES = st.lists(st.integers(0, 9), max_size=200)  # with many equal ones
KEEPS = st.integers(1, 99).map(lambda percent: Fraction(percent, 100))


@given(SCORES, KEEPS)
def test_the_slice_is_that_of_the_released_code(scores: list[int], keep: Fraction) -> None:
    assert released_slice(np.array(scores, np.float32), keep).tolist() == twin(list(map(float, scores)), keep)


@given(SCORES, KEEPS)
def test_it_is_empty_just_where_30_images_or_fewer_are_dropped(scores: list[int], keep: Fraction) -> None:
    dropped = num_dropped(len(scores), keep)
    chosen = released_slice(np.array(scores, np.float32), keep)
    assert len(chosen) == (len(scores) - dropped if dropped > 30 else 0)


def test_of_10000_images_it_leaves_out_the_30_most_certain_and_the_970_least_certain_ones() -> None:
    scores = np.random.default_rng(0).permutation(10_000).astype(np.float32)
    chosen = released_slice(scores, Fraction("0.9"))
    assert sorted(scores[chosen]) == list(range(30, 9030))


def test_an_image_without_a_score_is_the_least_certain() -> None:
    scores = np.arange(100, dtype=np.float32)
    scores[0] = np.nan
    assert released_slice(scores, Fraction(1, 2)).tolist() == list(range(31, 81))


@pytest.mark.parametrize(
    ("keep", "dropped"),
    [
        pytest.param("0.9", 10, id="0.1 * 100 in floating point is 9.999... without the exact fraction"),
        pytest.param("0.71", 29, id="0.29 * 100 in floating point is 28.999..."),
    ],
)
def test_the_share_is_exact(keep: str, dropped: int) -> None:
    assert num_dropped(100, Fraction(keep)) == dropped


def test_the_digest_is_of_the_indices_whatever_their_type() -> None:
    assert ids_sha256(np.array([3, 7], np.int32)) == ids_sha256(np.array([3, 7]))
    assert ids_sha256(np.array([3, 7])) != ids_sha256(np.array([7, 3]))
