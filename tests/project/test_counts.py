"""Numbers of things in messages: one helper knows the plural."""

from __future__ import annotations

import pytest

from pipeline.errors import count


@pytest.mark.parametrize(
    ("number", "noun", "expected"),
    [
        (0, "image", "0 images"),
        (1, "image", "1 image"),
        (2, "image", "2 images"),
        (1234, "image", "1,234 images"),
        (1, "class", "1 class"),
        (3, "class", "3 classes"),
        (2, "epoch", "2 epochs"),
        (2, "batch", "2 batches"),
        (2, "key", "2 keys"),
        (2, "entry", "2 entries"),
        (2, "feature layer", "2 feature layers"),
    ],
)
def test_a_number_and_its_noun(number: int, noun: str, expected: str) -> None:
    assert count(number, noun) == expected
