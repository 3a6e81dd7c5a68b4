"""What a stored value may differ from exact arithmetic by: the bound of ``docs/format.md``, section 5, which
holds on every processor.

The values that hypothesis draws lie at the ties of float16, or one float32 step beside them, next to values
that are larger by many binades: there one float32 rounding decides a whole float16 spacing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor
from torch.nn import functional as F

import fstore
from fstore import format as fmt
from fstore.interpolate import concatenate_block, to_stored

FLOAT32_AN_AXIS = 4 * 2.0**-24
"""Of the channel's largest magnitude: the weight, two products and a sum, each rounded to float32, are at
most (3 + weight) of these roundings of 2^-24.
"""
sides = st.integers(1, 6)
grids = st.tuples(sides, sides)


def tie(bits: int, steps: int, sign: float) -> float:
    """The midpoint of a float16 and the next larger one, moved by float32 steps."""
    lower, upper = np.array([bits, bits + 1], np.uint16).view(np.float16).astype(np.float32)
    middle = (lower + upper) / 2  # exact: float32 has 13 more bits
    return float(sign * (middle + steps * np.spacing(middle)))


ordinary = st.floats(-8, 8, width=32, allow_subnormal=False)
near_ties = st.builds(
    tie, st.integers(0, 0x7BFE - 1), st.integers(-2, 2), st.sampled_from([-1.0, 1.0])
)  # up to 65488
near_ties_of_one_binade = st.builds(tie, st.integers(0x3C00, 0x3C08), st.integers(-2, 2), st.just(1.0))
values_of_a_map = st.sampled_from([ordinary, near_ties, near_ties_of_one_binade])


@st.composite
def network_maps(draw: st.DrawFn) -> Tensor:
    """[c, h, w] float32, finite and within float16's range."""
    shape = (draw(st.integers(1, 3)), draw(sides), draw(sides))
    return torch.from_numpy(draw(hnp.arrays(np.float32, shape, elements=draw(values_of_a_map))))


def exactly_resized(values: Tensor, size: tuple[int, int]) -> np.ndarray:
    """[c, h, w] -> (c, *size) float64, by torch."""
    return F.interpolate(values.double()[None], size=size, mode="bilinear", align_corners=False)[0].numpy()


def float32_slack(values: Tensor, size: tuple[int, int]) -> np.ndarray:
    """(c, 1, 1): none for an axis that is copied."""
    axes = sum(a != b for a, b in zip(values.shape[1:], size, strict=True))
    return axes * FLOAT32_AN_AXIS * values.abs().amax((1, 2), keepdim=True).double().numpy()


def half_spacing(values: np.ndarray) -> np.ndarray:
    """Of float16 values: what one rounding may move them by."""
    return np.spacing(np.abs(values)).astype(np.float64) / 2


def stored_and_features(values: Tensor, grid: tuple[int, int]) -> tuple[Tensor, np.ndarray]:
    """The stored map [c, h', w'] and the features (c, Hg, Wg), both float16, of a network's map [c, h, w]."""
    (layer,) = fmt.build_layers([("a", (values.shape[1], values.shape[2]), values.shape[0])], grid)
    stored = to_stored(values, layer, grid)  # [h', w', c]
    features = concatenate_block([stored], [layer], grid, (0, grid[0]), (0, grid[1]))
    return stored.permute(2, 0, 1), features.permute(2, 0, 1).numpy()


@given(network_maps(), grids)
def test_a_stored_value_is_one_rounding_from_the_networks_map_resized_exactly(values, grid) -> None:
    stored, _ = stored_and_features(values, grid)
    size = (stored.shape[1], stored.shape[2])
    found = stored.numpy()
    distance = np.abs(found.astype(np.float64) - exactly_resized(values, size))
    assert (distance <= half_spacing(found) + float32_slack(values, size)).all()
    if size == values.shape[1:]:  # nothing is resized, and nothing but the rounding happens
        assert np.array_equal(found, values.numpy().astype(np.float16))


@given(network_maps(), grids)
def test_a_feature_is_one_rounding_from_the_stored_map_resized_exactly(values, grid) -> None:
    stored, found = stored_and_features(values, grid)
    distance = np.abs(found.astype(np.float64) - exactly_resized(stored, grid))
    assert (distance <= half_spacing(found) + float32_slack(stored, grid)).all()
    if tuple(stored.shape[1:]) == grid:
        assert np.array_equal(found, stored.numpy())


@given(network_maps(), grids)
def test_a_feature_is_two_roundings_from_the_networks_map(values, grid) -> None:
    """Half the spacing of the stored values that it is made of, weighted as they are, and half its own."""
    stored, found = stored_and_features(values, grid)
    size = (stored.shape[1], stored.shape[2])
    reduced = torch.from_numpy(exactly_resized(values, size))
    distance = np.abs(found.astype(np.float64) - exactly_resized(reduced, grid))
    first = exactly_resized(torch.from_numpy(half_spacing(stored.numpy())), grid)
    second = half_spacing(found) if size != grid else 0  # a copied value is not rounded again
    slack = float32_slack(values, size) + float32_slack(stored, grid)
    assert (distance <= first + second + slack).all()


TIE = 1 + 2**-11  # between 1 and the next float16
STEPS = [[-1, 0], [1, 2]]  # of float32: rows first the mean is the tie itself, columns first it is one beyond


@pytest.mark.parametrize(
    ("values", "rounded"),
    [(np.array(STEPS), 1.0), (np.array(STEPS).T, 1 + 2**-10)],
    ids=["rows-first", "as-if-columns-first"],
)
def test_two_right_orders_of_the_same_sum_are_a_whole_spacing_apart_after_rounding(
    values: np.ndarray, rounded: float
) -> None:
    """So no bound of half a spacing holds between two routines that both round: one of each is compared with
    exact arithmetic instead.
    """
    mean = torch.from_numpy((TIE + values * 2.0**-23).astype(np.float32))[None]
    stored, features = stored_and_features(mean, (1, 1))
    assert stored.item() == features.item() == rounded
    assert abs(rounded - exactly_resized(mean, (1, 1)).item()) <= 2**-11 + 2 * FLOAT32_AN_AXIS * TIE


SIZES = ((5, 7), (20, 12), (40, 24), (33, 6))  # coarser, the grid's own, finer, finer in rows alone


def maps_near_ties() -> list[Tensor]:
    """A network's maps of ``SIZES``, [3, h, w] float32 from 0.5 to 2."""
    random = np.random.default_rng(0)
    lower = [random.integers(0x3800, 0x4000, (3, *size)) for size in SIZES]
    near = np.vectorize(tie, otypes=[np.float32])
    return [torch.from_numpy(near(bits, random.integers(-2, 3, bits.shape), 1.0)) for bits in lower]


def test_the_promise_holds_of_stores_on_the_disk(tmp_path: Path) -> None:
    grid, rows = (20, 12), (3, 19)
    layers = fmt.build_layers([(f"l{i}", size, 3) for i, size in enumerate(SIZES)], grid)
    classes = (fmt.ClassInfo(0, "all", "#000000"),)
    picture, mask = np.zeros((16, 12, 3), np.uint8), np.zeros((16, 12), np.uint8)
    for layout in ("dense", "pyramid"):
        meta = fmt.FeatureMeta(layout, grid, rows, layers, classes, None)
        writer = fstore.create(tmp_path / layout, meta, num_images=1, latent_shape=(2,))
        writer.write_image(0, maps_near_ties(), picture, mask, np.zeros(2, np.float32))
    dense = np.asarray(zarr.open_array(tmp_path / "dense" / "features", mode="r")[0])
    found = dense.transpose(2, 0, 1)  # (C, H, W)
    for i, (layer, values) in enumerate(zip(layers, maps_near_ties(), strict=True)):
        native = np.asarray(zarr.open_array(tmp_path / "pyramid" / "layers" / f"{i}_l{i}", mode="r")[0])
        stored = native.transpose(2, 0, 1)
        features = found[layer.offset : layer.offset + 3]
        for result, source, size, kept in (
            (stored, values, layer.resolution, slice(None)),
            (features, torch.from_numpy(stored), grid, slice(*rows)),
        ):
            distance = np.abs(result.astype(np.float64) - exactly_resized(source, size)[:, kept])
            assert (distance <= half_spacing(result) + float32_slack(source, size)).all()
