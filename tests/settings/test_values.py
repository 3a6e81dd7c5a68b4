"""What settings accept: byte counts as people write them, the kept fraction, rows of the grid."""

from __future__ import annotations

import tomllib
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.settings.values import AUTO_KEEP, BYTES, KEEP, Keep, parse_bytes, parse_crop_rows

# --- sizes ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4GB", 4 * 10**9),  # decimal, as disks and the issue write it
        ("4G", 4 * 10**9),
        ("512 MiB", 512 * 2**20),  # binary, spaced
        ("1.5gib", 3 * 2**29),  # a fraction, any case
        ("2000000", 2 * 10**6),  # plain bytes
        ("1kB", 1000),
        ("9007199254740993", 2**53 + 1),  # no double holds it
        ("1.1kB", 1100),  # 1.1 * 1000 is 1100.0000000000002 in floating point
        (str(2**63 - 1), 2**63 - 1),
    ],
)
def test_sizes_as_people_write_them(text: str, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "GB", "-1GB", "0", "4 apples", "nan", "1e9", "4GBs", "0.1", "\u0664GB", "4 \u212aB"),
        *("9" * 400, "9" * 400 + "GB", "1." + "9" * 400, str(2**63), "9999999999TB"),
    ],
)
def test_what_is_no_size_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match=r"--memory-budget is .*expected a size such as 4GB"):
        BYTES.check_text("--memory-budget", text)


@given(st.integers(1, 2**63 - 1))
def test_a_plain_number_is_itself(count: int) -> None:
    assert parse_bytes(str(count)) == count


# --- keep and rows ---


@pytest.mark.parametrize(
    ("written", "exact"),
    [
        ("0.07", Fraction(7, 100)),  # 0.07 * 100 is 7.000000000000001 in floating point
        (0.07, Fraction(7, 100)),
        (" 0.9 ", Fraction(9, 10)),
        (1, Fraction(1)),
        ("1.0", Fraction(1)),
        (".5", Fraction(1, 2)),
        ("1e-3", Fraction(1, 1000)),
        (1e-05, Fraction(1, 100000)),
    ],
)
def test_keep_is_the_decimal_that_was_written(written: Any, exact: Fraction) -> None:
    assert Keep.parse(written).fraction == exact


@given(st.integers(1, 10**6))
def test_keep_of_a_toml_float_is_what_its_digits_say(millionths: int) -> None:
    assert Keep.parse(millionths / 10**6).fraction == Fraction(millionths, 10**6)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "x",
        "1/2",
        "nan",
        "inf",
        "-0.5",
        "0",
        "0.0",
        "1.1",
        2,
        0.0,
        True,
        "1e-999999999",
        "0_9",
        "50%",
        "\u0660.\u0669",
    ],
)
def test_keep_outside_its_range_is_refused(written: Any) -> None:
    with pytest.raises(ValueError):
        Keep.parse(written)


@pytest.mark.parametrize("written", ["auto", " auto ", AUTO_KEEP])
def test_auto_is_no_fraction_and_stays_what_it_is(written: Any) -> None:
    found = KEEP.check("--keep", written)
    assert found.is_auto and found == AUTO_KEEP and str(found) == "auto" and found.to_toml() == '"auto"'
    assert not Keep.parse("0.9").is_auto and KEEP.check("--keep", "0.9") == Keep.parse(0.9)


@pytest.mark.parametrize("written", ["Auto", "automatic", "", 0, 2, None, True])
def test_what_is_neither_a_fraction_nor_auto_is_refused(written: Any) -> None:
    with pytest.raises(UsageError, match=r'--keep is .*; expected a decimal fraction .* or "auto"'):
        KEEP.check("--keep", written)


def test_a_fraction_alone_is_asked_for_where_auto_has_no_meaning() -> None:
    with pytest.raises(ValueError):
        Keep.parse("auto")


def test_crop_rows_are_read_from_a_flag_and_from_toml() -> None:
    assert parse_crop_rows("64:448") == parse_crop_rows([64, 448]) == (64, 448)
    for wrong in ("64", "64:", ":448", "448:64", "a:b", "-1:4", "1:2:3", [1, 2, 3], [1.0, 2.0], [True, 2]):
        with pytest.raises((ValueError, TypeError)):
            parse_crop_rows(wrong)  # type: ignore[arg-type]


# --- keep in a file ---


@given(
    st.decimals("0.000001", "1", places=6)
    | st.decimals("1e-20", "1").filter(lambda d: d > 0 and len(str(d)) <= 64)
)
def test_keep_is_a_toml_number_that_reads_back_exactly(value: Any) -> None:
    keep = Keep.parse(str(value))
    written = tomllib.loads(f"keep = {keep.to_toml()}")["keep"]
    assert Keep.parse(written).fraction == keep.fraction
    if len(value.as_tuple().digits) <= 15:  # what every double holds
        assert isinstance(written, float)


def test_keep_in_a_file_looks_as_people_write_it() -> None:
    assert [Keep.parse(text).to_toml() for text in ("0.9", ".5", "1", "1e-3")] == [
        "0.9",
        "0.5",
        "1.0",
        "0.001",
    ]
    assert Keep.parse("0.12345678901234567890").to_toml() == '"0.12345678901234567890"'


def test_keeps_of_one_fraction_are_equal_and_each_has_its_text() -> None:
    assert Keep.parse("0.90") == Keep.parse(0.9) == KEEP.parse(Keep.parse("9e-1"))
    assert (Keep.parse(" 0.90 ").text, Keep.parse(0.9).text, str(Keep.parse("9e-1"))) == (
        "0.90",
        "0.9",
        "9e-1",
    )
