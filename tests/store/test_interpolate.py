"""The one interpolation routine: the same bits whatever slice is asked for, bilinear to float32 rounding."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from fstore import format as fmt
from fstore import interpolate
from fstore.errors import OverflowError16
from fstore.interpolate import (
    axis_taps,
    concatenate_block,
    concatenate_pixels,
    nearest_source,
    resize_block,
    resize_pixels,
    source_range,
    to_stored,
)

sides = st.integers(1, 40)
modes = st.sampled_from(["bilinear", "nearest"])
seeds = st.integers(0, 2**31)
RATIOS = st.sampled_from([0.5, 1.0, 2.0, 4.0, 8.0])  # of the grid's side to the map's


@st.composite
def ranges(draw: st.DrawFn, size: int) -> tuple[int, int]:
    first = draw(st.integers(0, size - 1))
    return first, draw(st.integers(first + 1, size))


@st.composite
def stacks(draw: st.DrawFn) -> tuple[list[Tensor], tuple[fmt.LayerInfo, ...], tuple[int, int]]:
    """Stored maps [h, w, c] float16 of one to four layers, and the grid."""
    grid = (draw(sides), draw(sides))
    native = [
        (f"l{i}", (draw(sides), draw(sides)), draw(st.integers(1, 7))) for i in range(draw(st.integers(1, 4)))
    ]
    layers = fmt.build_layers(native, grid)
    generator = torch.Generator().manual_seed(draw(seeds))
    maps = [
        torch.randn((*layer.resolution, layer.channels), generator=generator).mul_(5).half()
        for layer in layers
    ]
    return maps, layers, grid


def bits(values: Tensor) -> np.ndarray:
    return values.contiguous().view(torch.int16 if values.dtype == torch.float16 else torch.int32).numpy()


def random_map(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 5


@given(st.data())
def test_any_slice_from_any_part_of_the_map_has_the_bits_of_the_whole(data: st.DataObject) -> None:
    size, grid = (data.draw(sides), data.draw(sides)), (data.draw(sides), data.draw(sides))
    source = random_map(data.draw(seeds), *size, data.draw(st.integers(1, 9)))
    mode = data.draw(modes)
    whole = resize_block(source, size, grid, torch.arange(grid[0]), torch.arange(grid[1]), mode=mode)
    rows, columns = data.draw(ranges(grid[0])), data.draw(ranges(grid[1]))
    y, x = source_range(size[0], grid[0], *rows, mode), source_range(size[1], grid[1], *columns, mode)
    part = source[slice(*y), slice(*x)]  # all that the slice needs, and no more
    found = resize_block(part, size, grid, torch.arange(*rows), torch.arange(*columns), (y[0], x[0]), mode)
    assert np.array_equal(bits(found), bits(whole[slice(*rows), slice(*columns)]))


@given(st.tuples(st.integers(1, 12), st.integers(1, 12)), st.tuples(RATIOS, RATIOS), seeds)
def test_whole_axes_of_a_ratio_of_two_have_the_bits_of_their_rows_and_of_single_pixels(
    sides: tuple[int, int], ratios: tuple[float, float], seed: int
) -> None:
    """They are computed without taps."""
    size = tuple(side * (2 if ratio < 1 else 1) for side, ratio in zip(sides, ratios, strict=True))
    grid = tuple(int(side * ratio) for side, ratio in zip(size, ratios, strict=True))
    source = random_map(seed, *size, 3)
    source[torch.rand(source.shape, generator=torch.Generator().manual_seed(seed)) < 0.1] = -0.0
    height, width = grid
    rows, columns = torch.arange(height), torch.arange(width)
    whole = resize_block(source, size, grid, rows, columns)
    for row in range(height):
        assert np.array_equal(
            bits(resize_block(source, size, grid, rows[row:][:1], columns)[0]), bits(whole[row])
        )
    y, x = (values.flatten() for values in torch.meshgrid(rows, columns, indexing="ij"))
    assert np.array_equal(bits(resize_pixels(source, size, grid, y, x)), bits(whole.flatten(0, 1)))


@given(st.data())
def test_pixels_in_any_order_have_the_bits_of_the_block(data: st.DataObject) -> None:
    size, grid = (data.draw(sides), data.draw(sides)), (data.draw(sides), data.draw(sides))
    source, mode = random_map(data.draw(seeds), *size, 3), data.draw(modes)
    whole = resize_block(source, size, grid, torch.arange(grid[0]), torch.arange(grid[1]), mode=mode)
    places = data.draw(
        st.lists(st.tuples(st.integers(0, grid[0] - 1), st.integers(0, grid[1] - 1)), min_size=1, max_size=20)
    )
    rows, columns = torch.tensor(places).T
    found = resize_pixels(source, size, grid, rows, columns, mode=mode)
    assert np.array_equal(bits(found), bits(whole[rows, columns]))


@given(stacks(), st.data())
def test_a_concatenated_block_and_its_pixels_have_the_bits_of_the_whole(stack, data: st.DataObject) -> None:
    (maps, layers, grid), mode = stack, data.draw(modes)
    whole = concatenate_block(maps, layers, grid, (0, grid[0]), (0, grid[1]), mode=mode)
    assert whole.shape == (*grid, sum(layer.channels for layer in layers))
    rows, columns = data.draw(ranges(grid[0])), data.draw(ranges(grid[1]))
    spans = [
        (
            source_range(la.resolution[0], grid[0], *rows, mode),
            source_range(la.resolution[1], grid[1], *columns, mode),
        )
        for la in layers
    ]
    parts = [values[slice(*y), slice(*x)] for values, (y, x) in zip(maps, spans, strict=True)]
    origins = [(y[0], x[0]) for y, x in spans]
    block = concatenate_block(parts, layers, grid, rows, columns, origins, mode=mode)
    assert np.array_equal(bits(block), bits(whole[slice(*rows), slice(*columns)]))
    y, x = (
        values.flatten()
        for values in torch.meshgrid(torch.arange(*rows), torch.arange(*columns), indexing="ij")
    )
    pixels = concatenate_pixels(parts, layers, grid, y, x, origins, mode=mode)
    assert np.array_equal(bits(pixels), bits(block.flatten(0, 1)))


@given(stacks(), st.integers(1, 5))
def test_the_size_of_the_working_block_changes_no_bit(stack, block_bytes: int) -> None:
    maps, layers, grid = stack
    whole = concatenate_block(maps, layers, grid, (0, grid[0]), (0, grid[1]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpolate, "_BLOCK_BYTES", 4 * grid[1] * block_bytes)
        assert np.array_equal(
            bits(concatenate_block(maps, layers, grid, (0, grid[0]), (0, grid[1]))), bits(whole)
        )


@given(sides, sides, sides, sides, seeds)
def test_the_values_are_those_of_bilinear_resizing_to_float32_rounding(
    h: int, w: int, rows: int, columns: int, seed: int
):
    source = random_map(seed, h, w, 2)
    found = resize_block(source, (h, w), (rows, columns), torch.arange(rows), torch.arange(columns))
    exact = F.interpolate(
        source.double().permute(2, 0, 1)[None], size=(rows, columns), mode="bilinear", align_corners=False
    )
    torch.testing.assert_close(
        found.double(), exact[0].permute(1, 2, 0), rtol=0, atol=8 * 2**-24 * float(source.abs().max())
    )


@given(sides, sides, sides, sides, seeds)
def test_nearest_values_are_those_of_torch_bit_for_bit(h: int, w: int, rows: int, columns: int, seed: int):
    source = random_map(seed, h, w, 2)
    every = torch.arange(rows), torch.arange(columns)
    found = resize_block(source, (h, w), (rows, columns), *every, mode="nearest")
    expected = F.interpolate(source.permute(2, 0, 1)[None], size=(rows, columns), mode="nearest")
    assert np.array_equal(bits(found), bits(expected[0].permute(1, 2, 0)))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (2, 82),  # float32 rounds 41 * (2 / 82) to just below 1
        (1000, 120),  # and here 14 of 120 indices
        (1024, 512),
        (64, 1024),
        (300, 512),
    ],
)
def test_the_nearest_source_is_that_of_torch_where_float32_rounds_too(source: int, target: int) -> None:
    values = torch.arange(float(source))
    expected = F.interpolate(values[None, None], size=target, mode="nearest")[0, 0].long()
    found = nearest_source(source, target, torch.arange(target))
    assert torch.equal(found, expected)
    exact = torch.arange(target) * source // target
    assert 0 <= int((exact - found).min()) <= int((exact - found).max()) <= 1


def by_the_specification(values: np.ndarray, target: int) -> np.ndarray:
    """Axis 0 resized as ``docs/format.md``, section 5, says, in numpy: each float32 operation rounded."""
    size = len(values)
    if size == target:
        return values
    p = np.maximum((np.arange(target) + 0.5) * (size / target) - 0.5, 0)
    lower = np.minimum(np.floor(p).astype(np.int64), size - 1)
    upper = np.minimum(lower + 1, size - 1)
    w = (p - lower).astype(np.float32)[:, None, None]
    return values[lower] * (np.float32(1) - w) + values[upper] * w


@given(stacks())
def test_features_have_the_bits_of_the_specification(stack) -> None:
    maps, layers, grid = stack
    features = concatenate_block(maps, layers, grid, (0, grid[0]), (0, grid[1]))
    parts = []
    for values in maps:
        rows = by_the_specification(values.float().numpy(), grid[0])  # [Hg, w, c]
        parts.append(by_the_specification(rows.transpose(1, 0, 2), grid[1]).transpose(1, 0, 2))  # [Hg, Wg, c]
    expected = np.concatenate(parts, axis=2).astype(np.float16)
    assert np.array_equal(features.view(torch.int16).numpy(), expected.view(np.int16))


@given(stacks())
def test_no_feature_leaves_the_range_of_its_map_so_a_constant_map_stays_constant(stack) -> None:
    maps, layers, grid = stack
    features = concatenate_block(maps, layers, grid, (0, grid[0]), (0, grid[1]))
    for values, layer in zip(maps, layers, strict=True):
        resized = features[..., layer.offset : layer.offset + layer.channels]
        assert (resized >= values.amin((0, 1))).all()
        assert (resized <= values.amax((0, 1))).all()
    constant = [torch.full_like(values, 1.2001953125) for values in maps]
    assert (concatenate_block(constant, layers, grid, (0, grid[0]), (0, grid[1])) == 1.2001953125).all()


@given(sides, sides, st.data())
def test_source_range_holds_exactly_the_taps(source: int, target: int, data: st.DataObject) -> None:
    first, last = data.draw(ranges(target))
    lower, upper, weight = axis_taps(source, target, torch.arange(first, last))
    assert ((weight >= 0) & (weight < 1)).all()
    if source == target:  # nothing is interpolated: the upper taps weigh nothing and are not read
        assert not weight.any()
        upper = lower
    assert source_range(source, target, first, last) == (int(lower.min()), int(upper.max()) + 1)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize(
    ("native", "stored"),
    [((64, 64), (16, 24)), ((64, 8), (16, 8)), ((16, 24), (16, 24)), ((4, 4), (4, 4))],
    ids=["finer-both-ways", "finer-in-rows-only", "the-grid's-own-size", "coarser"],
)
def test_a_layer_finer_than_the_grid_is_reduced_to_it_before_rounding(
    native: tuple[int, int], stored: tuple[int, int], mode: str
) -> None:
    grid = (16, 24)
    (layer,) = fmt.build_layers([("a", native, 3)], grid)
    values = random_map(0, 3, *native)
    found = to_stored(values, layer, grid, mode)
    assert found.shape == (*stored, 3)
    assert found.dtype == torch.float16
    align = False if mode == "bilinear" else None
    exact = F.interpolate(values[None].double(), size=stored, mode=mode, align_corners=align)
    exact = exact[0].permute(1, 2, 0)
    torch.testing.assert_close(
        found.double(), exact, rtol=2**-11, atol=8 * 2**-24 * float(values.abs().max())
    )
    if native == stored:
        assert np.array_equal(bits(found), bits(values.permute(1, 2, 0).half()))


@pytest.mark.parametrize("value", [65520.0, -1e6, float("inf"), float("-inf"), float("nan")])
def test_a_value_that_float16_cannot_hold_is_an_error_with_layer_and_value(value: float) -> None:
    (layer,) = fmt.build_layers([("b8_conv", (4, 4), 2)], (8, 8))
    values = torch.zeros(2, 4, 4)
    values[1, 2, 3] = value
    with pytest.raises(
        OverflowError16, match=re.escape(f"'b8_conv': feature value {value:.6g} does not fit float16")
    ):
        to_stored(values, layer, (8, 8))


def test_the_largest_value_of_float16_is_kept() -> None:
    (layer,) = fmt.build_layers([("a", (2, 2), 1)], (4, 4))
    stored = to_stored(torch.full((1, 2, 2), 65504.0), layer, (4, 4))
    assert (concatenate_block([stored], [layer], (4, 4), (0, 4), (0, 4)) == 65504).all()


@given(stacks())
def test_the_maps_given_are_not_changed(stack) -> None:
    maps, layers, grid = stack
    before = [values.clone() for values in maps]
    concatenate_block(maps, layers, grid, (0, grid[0]), (0, grid[1]))
    concatenate_pixels(maps, layers, grid, torch.tensor([0]), torch.tensor([0]))
    assert all(torch.equal(a, b) for a, b in zip(maps, before, strict=True))
