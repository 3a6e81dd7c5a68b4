"""Heat maps against their closed form, peaks against exact Gaussians, the loss against a plain loop, PCK by
hand.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fstore.sampler import Batch
from pipeline.labelling.heat_maps import default_sigma, heat, heat_objective, pck, peaks, region_mask
from pipeline.labelling.votes import HeatTally


def pixel_centres(height: int, width: int) -> torch.Tensor:
    """(height, width, 2) x, y."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([x, y], dim=-1)


def test_a_heat_map_is_one_at_its_point_and_falls_as_a_gaussian() -> None:
    points = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    values = heat(torch.tensor([[3.0, 4.0], [3.0, 6.0]]), points, 2.0)  # [2 positions, 2 points]
    np.testing.assert_allclose(values[:, 0], [1, np.exp(-0.5)], rtol=1e-6)
    np.testing.assert_allclose(values[:, 1], [np.exp(-25 / 8), np.exp(-45 / 8)], rtol=1e-5)


@pytest.mark.parametrize(
    ("side", "sigma"),
    [(512, 8.0), (64, 1.0), (16, 1.0)],  # the last one: never less than a pixel
)
def test_the_default_sigma_is_a_64th_of_the_rows(side: int, sigma: float) -> None:
    assert default_sigma(side) == sigma


@given(x=st.floats(2.0, 18.0), y=st.floats(2.0, 14.0), sigma=st.floats(0.8, 4.0), height=st.floats(0.01, 1.0))
def test_the_peak_of_a_gaussian_is_found_between_the_pixels(
    x: float, y: float, sigma: float, height: float
) -> None:
    maps = height * heat(pixel_centres(16, 20), torch.tensor([[x, y]]), sigma)  # [16, 20, 1]
    found = peaks(maps[None])[0, 0]
    np.testing.assert_allclose(found[:2], [x, y], atol=2e-3)
    assert found[2] == maps.max()


@given(x=st.floats(3, 17), y=st.floats(3, 13), noise=st.integers(0, 2**16))
def test_a_peak_with_noise_lies_within_half_a_pixel_of_the_highest_one(
    x: float, y: float, noise: int
) -> None:
    generator = torch.Generator().manual_seed(noise)
    maps = heat(pixel_centres(16, 20), torch.tensor([[x, y]]), 1.0)
    maps = maps + 0.3 * torch.rand(maps.shape, generator=generator)
    place = int(maps.half().argmax())
    found = peaks(maps[None].half())[0, 0, :2].numpy()
    assert np.abs(found - [place % 20 + 0.5, place // 20 + 0.5]).max() <= 0.5


@pytest.mark.parametrize(
    ("row", "column"),
    [(0, 0), (0, 5), (6, 8), (6, 3), (3, 0)],  # corners and edges: no neighbour on one side
)
def test_a_peak_at_the_border_stays_inside(row: int, column: int) -> None:
    maps = torch.zeros(7, 9)
    maps[row, column] = 0.7
    found = peaks(maps[None, :, :, None])[0, 0]
    np.testing.assert_allclose(found, [column + 0.5, row + 0.5, 0.7])


def test_an_empty_heat_map_has_no_confidence_and_finite_coordinates() -> None:
    found = peaks(torch.zeros(1, 5, 6, 2))
    assert found.isfinite().all() and (found[..., 2] == 0).all()


def test_region_masks_are_the_nearest_labelled_point_within_three_sigma() -> None:
    points = np.array([[2.5, 2.5, 1], [6.0, 2.5, 1], [9.5, 2.5, 0]])
    mask = region_mask(points, 6, 12, sigma=1.0)
    for row in range(6):
        for column in range(12):
            distance = np.hypot(points[:2, 0] - column - 0.5, points[:2, 1] - row - 0.5)
            expected = distance.argmin() + 1 if distance.min() < 3 else 0
            assert mask[row, column] == expected, (row, column)


def test_points_at_and_beyond_the_border_leave_what_of_their_region_is_inside() -> None:
    points = np.array([[0.0, 0.0, 1], [12.0, 6.0, 1], [-20.0, 3.0, 1], [400.0, 3.0, 1]])
    mask = region_mask(points, 6, 12, sigma=1.0)
    assert mask[0, 0] == 1 and mask[5, 11] == 2
    assert set(np.unique(mask)) == {0, 1, 2}


def test_a_point_has_its_pixel_however_small_sigma_is() -> None:
    mask = region_mask(np.array([[4.99, 2.01, 1]]), 6, 8, sigma=0.01)
    assert mask[2, 4] == 1


def test_the_objective_is_the_masked_squared_error_of_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 7, (3, 2, 3))
    points[..., 2] = [[1, 1], [0, 1], [0, 0]]
    pixels = rng.integers(3 * 6 * 8, size=(2, 5))
    outputs = torch.from_numpy(rng.normal(size=(2, 5, 2)))
    batch = Batch(torch.empty(2, 5, 0), np.zeros((2, 5), np.int64), pixels)
    losses = heat_objective(points, 6, 8, 1.5, torch.device("cpu"))(outputs, batch)
    expected = np.zeros(2)
    for member in range(2):
        for draw in range(5):
            image, place = divmod(int(pixels[member, draw]), 6 * 8)
            y, x = place // 8 + 0.5, place % 8 + 0.5
            for k, (px, py, labelled) in enumerate(points[image]):
                target = np.exp(-((px - x) ** 2 + (py - y) ** 2) / (2 * 1.5**2))
                expected[member] += labelled * (float(outputs[member, draw, k]) - target) ** 2 / 5
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_pck_counts_labelled_points_up_to_the_distance() -> None:
    truth = np.array([[[10.0, 10, 1], [50, 10, 1], [0, 0, 0]], [[10, 10, 1], [20, 20, 1], [0, 0, 0]]])
    found = truth.copy()
    found[0, 0, 0] += 10  # exactly a tenth of the side
    found[0, 1, 1] += 10.001
    found[1, 1] += 100
    found[:, 2] += 1000  # not labelled: counts nowhere
    assert pck(found, truth, 0.10, 100) == 2 / 4
    assert pck(found, truth, 0.15, 100) == 3 / 4
    assert np.isnan(pck(found[:, 2:], truth[:, 2:], 0.1, 100))


def test_a_tally_of_heats_is_their_bounded_mean_and_variance() -> None:
    heats = torch.randn(5, 11, 3, generator=torch.Generator().manual_seed(0))
    tally = HeatTally(11, 3, torch.device("cpu"))
    for member in heats:
        tally.add(member)
    bounded = heats.clamp(0, 1)
    torch.testing.assert_close(tally.labels(), bounded.mean(0))
    torch.testing.assert_close(tally.divergence(), bounded.var(0, correction=0).mean(1))


def test_one_member_gone_astray_does_not_decide_the_heat() -> None:
    tally = HeatTally(1, 1, torch.device("cpu"))
    for value in (0.0, 0.0, 0.0, 500.0):
        tally.add(torch.tensor([[value]]))
    assert tally.labels().item() == 0.25
    assert tally.divergence().item() <= 0.25


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_an_output_that_is_not_finite_leaves_a_finite_heat_and_no_variance(value: float) -> None:
    heats = torch.full((3, 4, 2), 0.6)
    heats[1, 2, 0] = value
    tally = HeatTally(4, 2, torch.device("cpu"))
    for member in heats:
        tally.add(member)
    expected = torch.full((4, 2), 0.6)
    expected[2, 0] = 0.4  # it counts as 0
    torch.testing.assert_close(tally.labels(), expected)
    assert tally.divergence().isnan().tolist() == [False, False, True, False]
