"""Names that differ in left and right, and pairs that are set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.segment.training.left_right import checked_pairs, named_pairs, swap_table


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        pytest.param(["skin", "left eye", "right eye"], [("left eye", "right eye")], id="a space"),
        pytest.param(["eye_r", "skin", "eye_l"], [("eye_r", "eye_l")], id="a letter after an underscore"),
        pytest.param(["L-Brow", "r-brow"], [("L-Brow", "r-brow")], id="a hyphen, and whatever case"),
        pytest.param(["left", "right"], [("left", "right")], id="nothing but the word"),
        pytest.param(["leftover", "rightover"], [], id="part of a word"),
        pytest.param(["left eye", "right_eye"], [], id="other separators are another name"),
        pytest.param(["left eye", "skin"], [], id="one of the two is missing"),
        pytest.param(["left l", "right r"], [("left l", "right r")], id="two words swap together"),
        pytest.param(["left eye", "LEFT EYE", "right eye"], [], id="nobody knows which is meant"),
        pytest.param(["a_l", "b_l", "a_r", "b_r"], [("a_l", "a_r"), ("b_l", "b_r")], id="two pairs"),
    ],
)
def test_names_that_are_equal_but_for_left_and_right_are_pairs(
    names: list[str], pairs: list[tuple[str, str]]
) -> None:
    assert named_pairs(names) == tuple(pairs)


def test_a_name_that_is_unknown_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        UsageError, match=r"'left eey', which is none of the classes .* nearest is 'left eye'"
    ):
        checked_pairs([("left eey", "right eye")], ["left eye", "right eye"], "the classes")


@given(st.integers(0, 6), st.randoms())
def test_swapping_twice_changes_nothing(num_pairs: int, random: object) -> None:
    names = [f"{side} {i}" for i in range(num_pairs) for side in ("left", "right")] + ["skin", "nose"]
    random.shuffle(names)  # type: ignore[attr-defined]
    table = swap_table(named_pairs(names), names)
    np.testing.assert_array_equal(table[table], np.arange(len(names)))
    assert (table != np.arange(len(names))).sum() == 2 * num_pairs
