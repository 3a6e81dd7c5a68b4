"""Crops: where they lie, and that they are Pillow's."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.translate.crops import CENTRE, Crop, cropped, drawn_crop

SHARES = st.floats(0.01, 1)
SIZES = st.tuples(st.integers(1, 300), st.integers(1, 300))


@given(SHARES, st.integers(0, 2**40), st.integers(0, 10**6), st.integers(0, 2**31), st.integers(0, 2), SIZES)
def test_a_crop_is_a_square_within_the_picture_of_at_least_the_least_share(
    least: float, seed: int, epoch: int, place: int, part: int, size: tuple[int, int]
) -> None:
    crop = drawn_crop(least, seed, epoch, place, part)
    assert least <= crop.share <= 1
    left, top, right, bottom = crop.box(size)
    assert 0 <= left < right <= size[1] and 0 <= top < bottom <= size[0]
    assert abs((right - left) - (bottom - top)) < 1e-6
    assert abs((right - left) - crop.share * min(size)) < 1e-6


def test_crops_are_uniform_and_of_each_place_alone() -> None:
    crops = [drawn_crop(0.5, 3, 7, place, 0) for place in range(4000)]
    values = np.array([(crop.share, crop.across, crop.down) for crop in crops])
    assert np.allclose(values.mean(axis=0), (0.75, 0.5, 0.5), atol=0.02)
    assert np.allclose(values.std(axis=0), np.array((0.5, 1, 1)) / 12**0.5, atol=0.02)
    assert np.abs(np.corrcoef(values.T) - np.eye(3)).max() < 0.05
    others = {
        drawn_crop(0.5, *key)
        for key in ((3, 7, 0, 0), (4, 7, 0, 0), (3, 8, 0, 0), (3, 7, 1, 0), (3, 7, 0, 1))
    }
    assert len(others) == 5
    assert drawn_crop(0.5, 3, 7, 11, 0) == crops[11]


def test_without_a_bound_to_choose_from_the_crop_is_whole() -> None:
    assert drawn_crop(1, 0, 0, 0, 0).share == 1


def test_a_whole_picture_of_the_right_size_stays_as_it_is() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    assert np.array_equal(cropped(picture, CENTRE, 8), picture)


def test_a_crop_on_pixel_borders_is_a_slice() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (16, 24, 3)).astype(np.uint8)
    assert np.array_equal(cropped(picture, Crop(0.5, 0.25, 1), 8), picture[8:16, 4:12])
    assert np.array_equal(cropped(picture, CENTRE, 16), picture[:, 4:20])


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), SHARES, st.integers(1, 40))
def test_a_crop_of_one_colour_is_of_that_colour(height: int, width: int, share: float, side: int) -> None:
    picture = np.full((height, width, 3), (7, 100, 200), np.uint8)
    found = cropped(picture, Crop(share, 0.3, 0.9), side)
    assert found.shape == (side, side, 3)
    assert (found == (7, 100, 200)).all()


def test_resizing_is_pillows_bicubic_filter() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (20, 20, 3)).astype(np.uint8)
    expected = np.asarray(Image.fromarray(picture).resize((6, 6), Image.Resampling.BICUBIC))
    assert np.array_equal(cropped(picture, CENTRE, 6), expected)


def test_pictures_of_two_sizes_show_the_same_in_one_crop() -> None:
    small = np.random.default_rng(2).integers(0, 256, (10, 16, 3)).astype(np.uint8)
    large = small.repeat(3, 0).repeat(3, 1)
    crop = Crop(0.4, 0.5, 1 / 3)
    assert np.array_equal(crop.box((10, 16)), np.array(crop.box((30, 48))) / 3)
    assert np.array_equal(np.array(cropped(large, crop, 12))[1::3, 1::3], cropped(small, crop, 4))
