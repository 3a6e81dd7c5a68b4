"""Whether the images that a training reads are still the same, and which error says so."""

from __future__ import annotations

import pytest

from fstore.errors import StoreError
from pipeline.errors import RunError
from pipeline.resumable.unchanged import reading


class Replaced:
    def check_unchanged(self) -> None:
        raise StoreError("x.zarr: was written anew")


class Same:
    def check_unchanged(self) -> None:
        pass


@pytest.mark.parametrize("error", [StoreError("chunk 3"), OSError("gone"), ValueError("odd"), KeyError("x")])
def test_a_read_that_fails_says_whether_the_images_were_replaced(error: Exception) -> None:
    with pytest.raises(RunError, match="was written anew"), reading(Replaced()):
        raise error
    with pytest.raises(type(error)) as caught, reading(Same()):
        raise error
    assert caught.value is error


def test_a_block_that_ends_well_asks_nothing() -> None:
    with reading(Replaced()):
        pass
