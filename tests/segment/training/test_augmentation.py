"""Crops, mirrored images and colours: labels and keypoints stay where their pixels go."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.inputs.photographs import IGNORED
from pipeline.labelling.heat_maps import heat
from pipeline.segment.training.augmentation import Augmentation, Draw, augmented, crop_box, draw
from pipeline.segment.training.left_right import swap_table
from pipeline.segment.training.sample import Sample, cropped, mirrored, resized

SIZE = (12, 20)
NAMES = ["skin", "left eye", "right eye"]
SWAP = swap_table([("left eye", "right eye")], NAMES)
SHARES = st.floats(0, 1, exclude_max=True)
STILL = Draw(0.0, 0.0, 0.0, 0.9, (0.5, 0.5, 0.5))
MIRRORED = Draw(0.0, 0.0, 0.0, 0.1, (0.5, 0.5, 0.5))


def labelled(seed: int, size: tuple[int, int] = SIZE) -> Sample:
    random = np.random.default_rng(seed)
    picture = random.integers(0, 256, (*size, 3)).astype(np.uint8)
    return Sample(picture, labels=random.integers(IGNORED, len(NAMES), size))


def pointed(seed: int) -> Sample:
    random = np.random.default_rng(seed)
    places = random.uniform(0, 1, (len(NAMES), 2)) * [SIZE[1], SIZE[0]]
    learnt = random.integers(0, 2, (len(NAMES), 1))
    points = np.concatenate([places, learnt], 1).astype(np.float32)
    return Sample(random.integers(0, 256, (*SIZE, 3)).astype(np.uint8), points=points)


def heat_maps(sample: Sample) -> np.ndarray:
    """(K, H, W), by the routine that the interpreter learns."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    positions = torch.from_numpy(np.stack([columns, rows], -1) + 0.5).float()
    assert sample.points is not None
    return heat(positions, torch.from_numpy(sample.points[:, :2]), 2.0).permute(2, 0, 1).numpy()


@given(st.integers(0, 99))
def test_mirroring_twice_gives_the_sample_again(seed: int) -> None:
    for sample in (labelled(seed), pointed(seed)):
        again = mirrored(mirrored(sample, SWAP), SWAP)
        np.testing.assert_array_equal(again.picture, sample.picture)
        np.testing.assert_allclose(again.target, sample.target, atol=1e-5)


def test_a_mirrored_label_is_the_other_sides_at_the_mirrored_place() -> None:
    sample = labelled(0)
    found = mirrored(sample, SWAP)
    names = {-1: -1, 0: 0, 1: 2, 2: 1}
    for row in range(SIZE[0]):
        for column in range(SIZE[1]):
            there = SIZE[1] - 1 - column
            np.testing.assert_array_equal(found.picture[row, column], sample.picture[row, there])
            assert found.target[row, column] == names[int(sample.target[row, there])]


@given(st.integers(0, 99))
def test_mirrored_keypoints_have_the_mirrored_heat_maps_of_the_other_side(seed: int) -> None:
    sample = pointed(seed)
    found, expected = heat_maps(mirrored(sample, SWAP)), heat_maps(sample)[[0, 2, 1], :, ::-1]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(mirrored(sample, SWAP).target[:, 2], sample.target[[0, 2, 1], 2])


@given(SHARES, SHARES, SHARES, st.floats(0.05, 1))
def test_a_crop_lies_inside_and_has_its_share_of_both_sides(
    side: float, top: float, left: float, least: float
) -> None:
    drawn = Draw(side, top, left, 0.9, (0.5, 0.5, 0.5))
    first_row, first_column, (height, width) = crop_box(SIZE, least, drawn)
    assert 0 <= first_row <= SIZE[0] - height and 0 <= first_column <= SIZE[1] - width
    for length, whole in zip((height, width), SIZE, strict=True):
        assert least * whole - 0.5 <= length <= whole


def test_a_crop_of_the_whole_side_changes_nothing() -> None:
    sample = labelled(3)
    found = augmented(sample, SIZE, Augmentation(SWAP, crop=1.0), STILL)
    np.testing.assert_array_equal(found.picture, sample.picture)
    np.testing.assert_array_equal(found.target, sample.target)


def test_a_crop_keeps_the_pixels_under_their_labels_and_points() -> None:
    sample, points = labelled(4), pointed(4)
    found = cropped(sample, 2, 5, (6, 7))
    np.testing.assert_array_equal(found.picture, sample.picture[2:8, 5:12])
    np.testing.assert_array_equal(found.target, sample.target[2:8, 5:12])
    assert points.points is not None
    points.points[:] = [[5.5, 2.5, 1], [4.9, 3, 1], [11.5, 8.0, 1]]
    moved = cropped(points, 2, 5, (6, 7)).target
    np.testing.assert_allclose(moved[0], [0.5, 0.5, 1])
    assert moved[:, 2].tolist() == [1, 0, 0], "left of the crop, and on the row below it"


def test_points_are_resized_with_their_pictures() -> None:
    sample = pointed(5)
    found = resized(sample, (24, 10))
    assert found.size == (24, 10)
    np.testing.assert_allclose(found.target, sample.target * np.array([0.5, 2, 1]), rtol=1e-6)


def test_colours_change_the_picture_and_not_the_labels() -> None:
    sample = labelled(6)
    found = augmented(sample, SIZE, Augmentation(SWAP, color=0.5), Draw(0, 0, 0, 0.9, (1 - 1e-9, 0.5, 0.5)))
    np.testing.assert_array_equal(found.target, sample.target)
    bright = np.minimum(sample.picture.astype(float) * 1.5, 255)
    np.testing.assert_allclose(found.picture, bright, atol=1.01)


def test_nothing_is_changed_by_default_but_the_size() -> None:
    sample = labelled(7, (24, 40))
    found, plain = augmented(sample, SIZE, Augmentation(SWAP), MIRRORED), resized(sample, SIZE)
    np.testing.assert_array_equal(found.picture, plain.picture)
    np.testing.assert_array_equal(found.target, sample.target[1::2, 1::2])


def test_half_of_the_images_are_mirrored_and_each_draw_is_of_its_seed_epoch_and_place() -> None:
    drawn = [draw(0, epoch, place) for epoch in range(4) for place in range(100)]
    assert len(set(drawn)) == len(drawn)
    assert drawn[105] == draw(0, 1, 5) != draw(1, 1, 5)
    assert np.mean([each.mirror < 0.5 for each in drawn]) == pytest.approx(0.5, abs=0.08)
