"""The parts that need no server: the cache's bound, the packing of arrays."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reports.pictures import Encoded
from pipeline.viewer.packed_arrays import TYPES, pack
from pipeline.viewer.picture_cache import PictureCache


def picture(num_bytes: int) -> Encoded:
    return Encoded(b"x" * num_bytes, "image/png")


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12)), max_size=40))
def test_the_cache_holds_no_more_than_its_bytes_and_drops_the_oldest(asked: list[tuple[int, int]]) -> None:
    cache, model = PictureCache(20), []  # the model: keys and bytes, the oldest first
    for key, num_bytes in asked:
        made = picture(num_bytes)
        known = next((entry for entry in model if entry[0] == key), None)
        found = cache.get(key, lambda made=made: made)
        assert len(found.content) == (num_bytes if known is None else known[1])
        if known is not None:
            model.remove(known)
        model.append(known or (key, num_bytes))
        while sum(size for _, size in model) > 20:
            model.pop(0)
        assert cache.held_bytes == sum(size for _, size in model)


def test_a_picture_that_could_not_be_made_is_tried_again() -> None:
    cache = PictureCache()
    with pytest.raises(ZeroDivisionError):
        cache.get("a", lambda: picture(1 // 0))
    assert cache.get("a", lambda: picture(3)) == picture(3)


def unpacked(content: bytes) -> tuple[dict, dict[str, np.ndarray]]:
    """The values and arrays of a packed answer, as the page's script reads them."""
    length = int.from_bytes(content[:4], "little")
    head = json.loads(content[4 : 4 + length])
    arrays = {}
    for entry in head.pop("arrays"):
        dtype, start = np.dtype(TYPES[entry["type"]]), 4 + length + entry["offset"]
        assert start % 4 == 0  # or a browser refuses it
        arrays[entry["name"]] = np.frombuffer(content, dtype, entry["length"], start)
    return head, arrays


def test_packed_arrays_are_read_back() -> None:
    arrays = {
        "ids": np.array([0, 3, 2**32 - 1], np.uint32),
        "kept": np.array([1, 0, 1], np.uint8),
        "uncertainty": np.array([0.5, np.nan, -1e-30], np.float32),
        "none": np.zeros(0, np.float32),
    }
    values, found = unpacked(pack(arrays, {"key": "é-0", "numImages": 3}))
    assert values == {"key": "é-0", "numImages": 3}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
