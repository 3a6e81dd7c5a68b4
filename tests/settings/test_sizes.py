"""Byte counts as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.settings.sizes import parse_bytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4GB", 4 * 10**9),  # decimal, as disks and the issue write it
        ("4G", 4 * 10**9),
        ("512 MiB", 512 * 2**20),  # binary, spaced
        ("1.5gib", 3 * 2**29),  # a fraction, any case
        ("2000000", 2 * 10**6),  # plain bytes
        ("1kB", 1000),
    ],
)
def test_sizes_as_people_write_them(text: str, expected: int) -> None:
    assert parse_bytes(text, "--memory-budget") == expected


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "4 apples", "nan", "1e9", "4GBs", "0.1"])
def test_what_is_no_size_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match=r"--memory-budget is .*expected a size such as 4GB"):
        parse_bytes(text, "--memory-budget")


@given(st.integers(1, 2**60))
def test_a_plain_number_is_itself(count: int) -> None:
    assert abs(parse_bytes(str(count), "x") - count) <= count * 2**-52
