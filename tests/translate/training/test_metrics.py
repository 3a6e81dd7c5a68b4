"""What is measured of translated images, pinned by closed forms."""

from __future__ import annotations

import pytest
import torch

from pipeline.translate.training.metrics import grey_levels, pixel_error, squared_error


def levels(*values: int) -> torch.Tensor:
    """Images of one grey level each, in [-1, 1]."""
    return torch.stack([torch.full((3, 2, 4), value / 127.5 - 1) for value in values])


def test_black_and_white_are_1_apart_in_l2_and_255_grey_levels() -> None:
    assert squared_error(levels(0), levels(255)).tolist() == [1]
    assert pixel_error(levels(0), levels(255)).tolist() == [255]


def test_l2_is_the_square_of_the_distance_of_values_from_0_to_1() -> None:
    found = squared_error(levels(51, 102), levels(0, 51))
    assert found.tolist() == pytest.approx([0.2**2, 0.2**2])


def test_each_image_has_its_own_figure() -> None:
    made = levels(10, 20)
    made[0, 0] += 12 / 127.5  # one channel of three
    assert pixel_error(made, levels(10, 20)).tolist() == pytest.approx([4, 0])


def test_the_pixel_error_is_that_of_stored_pictures() -> None:
    """A difference that rounding removes is none."""
    assert pixel_error(levels(100) + 0.4 / 127.5, levels(100)).tolist() == [0]
    assert grey_levels(torch.tensor([-1.5, -1.0, 0.0, 1.0, 2.0])).tolist() == [0, 0, 128, 255, 255]
