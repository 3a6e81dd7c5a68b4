"""What the networks share: whether values are finite."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.models.tensors import are_finite

TYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64]


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (7, 33), (40_000,)], ids=str)
def test_what_has_no_other_value_is_finite(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    assert are_finite(torch.full(shape, -3).to(dtype))


@given(
    st.sampled_from(TYPES[:4]),
    st.integers(1, 300),
    st.integers(0, 299),
    st.sampled_from([math.nan, math.inf, -math.inf]),
    st.booleans(),
)
def test_one_value_is_seen_wherever_it_lies(
    dtype: torch.dtype, length: int, place: int, value: float, is_spread: bool
) -> None:
    values = torch.zeros(length, 3, dtype=dtype)[:, 1] if is_spread else torch.zeros(length, dtype=dtype)
    values[place % length] = value
    assert not are_finite(values)
