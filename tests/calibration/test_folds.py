"""Folds are disjoint, cover all images, are of equal size, and share out rare classes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.calibration.folds import assign_folds


@given(st.integers(2, 40), st.integers(1, 6), st.data())
def test_every_image_is_in_one_fold_and_folds_differ_by_one_image_at_most(
    num: int, classes: int, data: st.DataObject
) -> None:
    seed, folds = data.draw(st.integers(0, 2**63 - 1)), data.draw(st.integers(2, num))
    present = np.random.default_rng(seed).random((num, classes)) < 0.4
    found = assign_folds(present, folds, seed)
    sizes = np.bincount(found, minlength=folds)
    assert len(found) == num and len(sizes) == folds and sizes.max() - sizes.min() <= 1
    assert (found == assign_folds(present, folds, seed)).all()


@given(st.integers(0, 1000))
def test_the_images_of_the_rarest_class_are_in_folds_of_their_own(seed: int) -> None:
    present = np.ones((16, 3), bool)
    present[:, 2] = False
    present[np.random.default_rng(seed).choice(16, 4, replace=False), 2] = True
    found = assign_folds(present, 5, seed)
    assert len(set(found[present[:, 2]])) == 4


def test_another_seed_gives_other_folds() -> None:
    present = np.ones((16, 3), bool)
    assert len({tuple(assign_folds(present, 5, seed)) for seed in range(5)}) == 5


@pytest.mark.parametrize(("num", "folds"), [(3, 4), (3, 1), (0, 2)])
def test_impossible_numbers_of_folds_are_refused(num: int, folds: int) -> None:
    with pytest.raises(ValueError, match="folds of"):
        assign_folds(np.ones((num, 2), bool), folds, 0)
