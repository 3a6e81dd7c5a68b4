"""What an array's shape means as latents: a table, and the properties that hold for every shape."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.models.latent_shapes import latents_shape, one_latent_shape

D, MIN = 512, 8


@pytest.mark.parametrize(
    ("shape", "space", "expected"),
    [
        ((D,), None, ((1, D), None)),
        ((1, D), "w", ((1, D), "w")),
        ((1, 1, D), None, ((1, D), None)),
        ((1, 1, 1, D), "z", ((1, D), "z")),
        ((40, D), None, ((40, D), None)),
        ((40, D), "z", ((40, D), "z")),
        ((40, 1, D), None, ((40, D), None)),  # no generator has one row
        ((40, 1, 1, D), "w", ((40, D), "w")),
        ((1, 40, D), "z", ((40, D), "z")),
        ((1, 3, D), "w", ((3, D), "w")),
        ((1, 8, D), None, ((1, 8, D), "w+")),  # one latent of W+
        ((1, 18, D), None, ((1, 18, D), "w+")),
        ((1, 1, 18, D), None, ((1, 18, D), "w+")),
        ((18, D), "w+", ((1, 18, D), "w+")),
        ((18, 1, D), "w+", ((1, 18, D), "w+")),
        ((40, 18, D), None, ((40, 18, D), "w+")),
        ((40, 1, 18, D), None, ((40, 18, D), "w+")),
        ((40, 18, 1, D), "w+", ((40, 18, D), "w+")),
        ((1, 40, 18, D), "w+", ((40, 18, D), "w+")),
        ((40, D, 1), None, ((40, D), None)),
        ((40, 18, D, 1), None, ((40, 18, D), "w+")),
        ((2, 100, D), None, ((2, 100, D), "w+")),
    ],
)
def test_the_meaning_of_a_shape(
    shape: tuple[int, ...], space: str | None, expected: tuple[tuple[int, ...], str | None]
) -> None:
    assert latents_shape(shape, space, MIN) == expected


@pytest.mark.parametrize(
    ("shape", "space", "words"),
    [
        (
            (1, 7, D),
            None,
            "7 latents, or one of 7 rows in W\\+, and the checkpoint takes 8 rows; pass --latent-sp",
        ),
        ((1, 40, D), None, "pass --latent-space"),
        ((1, 18, 1, D), None, "pass --latent-space"),
        ((7, D), "w+", "7 layers; the checkpoint needs at least 8"),
        ((D,), "w+", "1 layers"),
        ((40, 7, D), None, "7 layers; the checkpoint needs at least 8"),
        ((40, 18, D), "w", "an axis of rows, as W\\+ has, and the space is 'w'"),
        ((2, 3, 8, D), None, "too many axes"),
        ((0, D), None, "at least one latent"),
        ((40, 0), None, "at least one latent"),
    ],
)
def test_a_shape_without_one_meaning_is_refused(
    shape: tuple[int, ...], space: str | None, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        latents_shape(shape, space, MIN)


SIDES = st.lists(st.sampled_from([1, 1, 2, 7, 8, 9, 18, 19, 40]), max_size=4)


@given(leading=SIDES, space=st.sampled_from([None, "z", "w", "w+"]), min_rows=st.sampled_from([2, 8, 18, 20]))
def test_every_meaning_keeps_the_values_their_order_and_what_is_known(
    leading: list[int], space: str | None, min_rows: int
) -> None:
    try:
        shape, found = latents_shape((*leading, D), space, min_rows)
    except ValueError:
        return
    assert math.prod(shape) == math.prod(leading) * D and shape[-1] == D
    assert [side for side in shape if side > 1] == [side for side in (*leading, D) if side > 1]
    assert len(shape) == (3 if found == "w+" else 2)
    assert space in (None, found)
    assert found != "w+" or shape[1] >= min_rows
    assert latents_shape(shape, found, min_rows) == (shape, found)  # what is read is read the same again


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((D,), (D,)), ((1, D), (D,)), ((1, 1, D), (D,)), ((18, D), (18, D)), ((1, 18, D), (18, D)),
     ((18, 1, D), (18, D)), ((1, 1), (1,)), ((D, 1), (D,)), ((1, D, 1, 1), (D,))],
)  # fmt: skip
def test_one_latent_is_a_row_or_a_row_for_each_layer(
    shape: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert one_latent_shape(shape) == expected


@pytest.mark.parametrize("shape", [(), (2, 3, D), (0, D), (0,), (2, 0)])
def test_several_latents_or_none_are_not_one(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"it holds several latents|it is empty"):
        one_latent_shape(shape)
