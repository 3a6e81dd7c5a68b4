"""The one interpolation routine of the project: resizing of channels-last maps, bilinear with
``align_corners=False`` or, where ``mode`` says so, to the nearest source value.

Every value follows from global row and column indices by the same elementwise float32 operations in the same
order (rows first, then columns; multiply, multiply, add, never fused), for every slice that is asked for.
So a band that is written to disk, a lazy block and a single pixel agree bit for bit. The writer, the reader
and the labelling all call it. ``mode`` is one of ``fstore.meta.UPSAMPLE_MODES``.

It does not know what the maps mean or where they are stored.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fstore.errors import OverflowError16
from fstore.format import LayerInfo
from fstore.meta import UPSAMPLE_MODES

BILINEAR, NEAREST = UPSAMPLE_MODES
_PIXEL_BLOCK_BYTES = 2**19
_BLOCK_BYTES = 4 * 2**20  # float32 temporaries of about this many bytes stay in a CPU's cache


def axis_taps(source: int, target: int, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Lower tap, upper tap (int64) and the upper tap's weight (float32) of global ``index`` when resizing an
    axis.

    Pixel centres: position = (index + 1/2) * source / target - 1/2, clamped at 0, as in
    ``torch.nn.functional.interpolate``.
    """
    position = ((index.to(torch.float64) + 0.5) * (source / target) - 0.5).clamp_(min=0)
    lower = position.floor().to(torch.int64).clamp_(max=source - 1)
    upper = (lower + 1).clamp_(max=source - 1)
    return lower, upper, (position - lower).to(torch.float32)


def nearest_source(source: int, target: int, index: Tensor) -> Tensor:
    """Source indices (int64) of global ``index`` when resizing an axis to the nearest value.

    floor(index * source / target), the scale and the product rounded to float32, as
    ``torch.nn.functional.interpolate(mode="nearest")`` rounds them: for 240 of 19,418 pairs of sizes tried,
    not one of them of powers of two, an index of it is one less than in exact arithmetic.
    """
    position = index.to(torch.float32) * (source / target)  # the operator rounds the scale to float32
    return position.floor().to(torch.int64).clamp_(max=source - 1)


def source_range(source: int, target: int, first: int, last: int, mode: str = BILINEAR) -> tuple[int, int]:
    """Source indices [a, b) that target indices [first, last) of a resized axis read."""
    if source == target:
        return first, last
    if mode == NEAREST:
        ends = nearest_source(source, target, torch.tensor([first, last - 1]))
        return int(ends[0]), int(ends[1]) + 1
    lower, upper, _ = axis_taps(source, target, torch.tensor([first, last - 1]))
    return int(lower[0]), int(upper[1]) + 1


def resize_block(
    source: Tensor,
    size: tuple[int, int],
    grid: tuple[int, int],
    rows: Tensor,
    columns: Tensor,
    origin: tuple[int, int] = (0, 0),
    mode: str = BILINEAR,
) -> Tensor:
    """Values of a resized map on the product of global ``rows`` and ``columns``: [h', w', c] -> [R, X, c]
    float32.

    ``source`` holds the part of a map of ``size`` (h, w) that starts at ``origin``; ``grid`` is the size
    resized to.
    """
    if mode == NEAREST:
        values = _nearest_axis(source, 0, size[0], grid[0], rows, origin[0])  # [R, w', c]
        return _nearest_axis(values, 1, size[1], grid[1], columns, origin[1]).to(torch.float32)
    values = source.to(torch.float32)
    values = _lerp_axis(values, 0, size[0], grid[0], rows, origin[0])  # [R, w', c]
    return _lerp_axis(values, 1, size[1], grid[1], columns, origin[1])  # [R, X, c]


def resize_pixels(
    source: Tensor,
    size: tuple[int, int],
    grid: tuple[int, int],
    rows: Tensor,
    columns: Tensor,
    origin: tuple[int, int] = (0, 0),
    mode: str = BILINEAR,
) -> Tensor:
    """Values of a resized map at n pixels: [h', w', c], rows [n], columns [n] -> [n, c] float32, bits as
    ``resize_block``.
    """
    if mode == NEAREST:
        y, x = nearest_source(size[0], grid[0], rows), nearest_source(size[1], grid[1], columns)
        return source[y - origin[0], x - origin[1]].to(torch.float32)  # [n, c]
    if size[1] == grid[1]:
        return _lerp_rows_at(source, size[0], grid[0], rows, columns - origin[1], origin[0])
    left, right, weight = axis_taps(size[1], grid[1], columns)
    at_left = _lerp_rows_at(source, size[0], grid[0], rows, left - origin[1], origin[0])
    at_right = _lerp_rows_at(source, size[0], grid[0], rows, right - origin[1], origin[0])
    return _blend(at_left, at_right, weight[:, None])


def _lerp_rows_at(
    source: Tensor, size: int, target: int, rows: Tensor, columns: Tensor, origin: int
) -> Tensor:
    if size == target:
        return source[rows - origin, columns].to(torch.float32)  # [n, c]
    lower, upper, weight = axis_taps(size, target, rows)
    above = source[lower - origin, columns].to(torch.float32)
    below = source[upper - origin, columns].to(torch.float32)
    return _blend(above, below, weight[:, None])


def _lerp_axis(values: Tensor, axis: int, size: int, target: int, index: Tensor, origin: int) -> Tensor:
    if size == target:
        return _same_axis(values, axis, index, origin)
    if _is_whole(values, axis, size, target, index):
        if size == 2 * target:
            return _halved(values, axis)
        ratio, rest = divmod(target, size)
        if not rest and ratio & (ratio - 1) == 0:  # 2, 4, 8, ...
            return _spread(values, axis, ratio)
    lower, upper, weight = axis_taps(size, target, index)
    shape = [1, 1, 1]
    shape[axis] = -1
    return _blend(
        values.index_select(axis, lower - origin),
        values.index_select(axis, upper - origin),
        weight.reshape(shape),
    )


def _nearest_axis(values: Tensor, axis: int, size: int, target: int, index: Tensor, origin: int) -> Tensor:
    if size == target:
        return _same_axis(values, axis, index, origin)
    return values.index_select(axis, nearest_source(size, target, index) - origin)


def _is_whole(values: Tensor, axis: int, size: int, target: int, index: Tensor) -> bool:
    """Whether ``index``, which ascends, asks for the whole axis, and ``values`` have all of it.

    On a GPU, where to look at the index would be to wait for the device, it is taken for a part.
    """
    if values.device.type != "cpu" or values.shape[axis] != size or len(index) != target:
        return False
    return bool(index[-1] - index[0] == target - 1)


def _halved(values: Tensor, axis: int) -> Tensor:
    """An axis of half the length, with the bits of the taps, which are pairs of neighbours."""
    lower, upper = values.unflatten(axis, (values.shape[axis] // 2, 2)).unbind(axis + 1)
    return lower.mul(0.5).add_(upper.mul(0.5))


def _spread(values: Tensor, axis: int, ratio: int) -> Tensor:
    """An axis of ``ratio`` times the length, a power of two above 1, with the bits of the taps.

    Between each two neighbours lie ``ratio`` values, of the same weights whichever the two are; so neither is
    gathered. Half as many lie beyond the outermost at each end.
    """
    size, half = values.shape[axis], ratio // 2
    shape = [*values.shape]
    shape[axis] = size * ratio
    result = values.new_empty(shape)
    weight = ((torch.arange(ratio, dtype=torch.float64) + 0.5) / ratio).to(torch.float32)
    weight = weight.reshape(-1, *[1] * (values.ndim - 1 - axis))
    between = result.narrow(axis, half, (size - 1) * ratio).unflatten(axis, (size - 1, ratio))
    _blend_into(
        between,
        values.narrow(axis, 0, size - 1).unsqueeze(axis + 1),
        values.narrow(axis, 1, size - 1).unsqueeze(axis + 1),
        weight,
    )
    first, last = values.narrow(axis, 0, 1), values.narrow(axis, size - 1, 1)
    second = values.narrow(axis, min(1, size - 1), 1)
    _blend_into(result.narrow(axis, 0, half), first, second, torch.zeros_like(weight[:half]))
    _blend_into(result.narrow(axis, size * ratio - half, half), last, last, weight[:half])
    return result


def _blend_into(out: Tensor, lower: Tensor, upper: Tensor, weight: Tensor) -> None:
    """What ``_blend`` computes, of operands that stay as they are."""
    torch.mul(lower, 1 - weight, out=out)
    out.add_(upper * weight)


def _same_axis(values: Tensor, axis: int, index: Tensor, origin: int) -> Tensor:
    """An axis that is not resized; a view where it can be."""
    if values.device.type != "cpu":  # to look at the index would be to wait for the device
        return values.index_select(axis, index - origin)
    first, count = int(index[0]) - origin, len(index)
    if int(index[-1]) - origin == first + count - 1:
        return values.narrow(axis, first, count)
    return values.index_select(axis, index - origin)


def _blend(lower: Tensor, upper: Tensor, weight: Tensor) -> Tensor:
    # Separate multiplications and an addition: `torch.lerp` may fuse them in its vector loop and not in its
    # tail, so that a value would depend on its place in the tensor. Both operands are fresh copies here.
    return lower.mul_(1 - weight).add_(upper.mul_(weight))


def to_stored(feature_map: Tensor, layer: LayerInfo, grid: tuple[int, int], mode: str = BILINEAR) -> Tensor:
    """One layer's map as the store holds it: [c, h, w] float32 -> [h', w', c] float16, finer maps reduced to
    ``grid``.

    Raises OverflowError16 naming layer and value where float16 cannot hold it (beyond 65504, or not a
    number).
    """
    channels_last = feature_map.permute(1, 2, 0).contiguous()  # [h, w, c]
    size = (channels_last.shape[0], channels_last.shape[1])
    if size != layer.resolution:
        device = channels_last.device
        rows = torch.arange(layer.resolution[0], device=device)
        columns = torch.arange(layer.resolution[1], device=device)
        reduced_grid = (min(size[0], grid[0]), min(size[1], grid[1]))
        channels_last = resize_block(channels_last, size, reduced_grid, rows, columns, mode=mode)
    stored = channels_last.to(torch.float16)
    if not _are_finite(stored):
        bad = channels_last[~torch.isfinite(stored)]
        value = float(bad[bad.abs().nan_to_num(nan=float("inf")).argmax()])
        raise OverflowError16(
            f"layer {layer.name!r}: feature value {value:.6g} does not fit float16 (finite, at most 65504); "
            "the checkpoint or the latents are unusual, or the network diverged"
        )
    return stored


def _are_finite(values: Tensor) -> bool:
    """Whether no value is infinite or NaN, which ``aminmax`` gives on: of all of them, `torch.isfinite` takes
    fifty times as long on a CPU.
    """
    return bool(torch.stack(torch.aminmax(values)).isfinite().all())


def concatenate_block(
    maps: Sequence[Tensor],
    layers: Sequence[LayerInfo],
    grid: tuple[int, int],
    rows: tuple[int, int],
    columns: tuple[int, int],
    origins: Sequence[tuple[int, int]] | None = None,
    out: Tensor | None = None,
    mode: str = BILINEAR,
) -> Tensor:
    """Features of a rectangle: stored maps [h, w, c] float16 -> [R, X, C] float16 for grid rows and columns
    [a, b).

    ``maps`` may be parts that start at ``origins``. Rows are worked in blocks whose float32 temporaries fit a
    CPU's cache.
    """
    device = maps[0].device
    num_rows, num_columns = rows[1] - rows[0], columns[1] - columns[0]
    channels = sum(layer.channels for layer in layers)
    result = (
        out
        if out is not None
        else torch.empty((num_rows, num_columns, channels), dtype=torch.float16, device=device)
    )
    column_index = torch.arange(*columns, device=device)
    start = 0
    for position, (source, layer) in enumerate(zip(maps, layers, strict=True)):
        origin = origins[position] if origins else (0, 0)
        step = (
            num_rows if device.type != "cpu" else max(1, _BLOCK_BYTES // (4 * num_columns * layer.channels))
        )
        for first in range(rows[0], rows[1], step):
            row_index = torch.arange(first, min(first + step, rows[1]), device=device)
            taps = _needed_rows(source, layer.resolution[0], grid[0], row_index, origin[0], mode)
            block = resize_block(
                taps[0], layer.resolution, grid, row_index, column_index, (taps[1], origin[1]), mode
            )
            result[first - rows[0] : first - rows[0] + len(row_index), :, start : start + layer.channels] = (
                block
            )
        start += layer.channels
    return result


def _needed_rows(
    source: Tensor, size: int, target: int, row_index: Tensor, origin: int, mode: str
) -> tuple[Tensor, int]:
    """Only the source rows that a block reads, so that no more of them than needed are turned into
    float32.
    """
    first, last = source_range(size, target, int(row_index[0]), int(row_index[-1]) + 1, mode)
    return source[first - origin : last - origin], first


def concatenate_pixels(
    maps: Sequence[Tensor],
    layers: Sequence[LayerInfo],
    grid: tuple[int, int],
    rows: Tensor,
    columns: Tensor,
    origins: Sequence[tuple[int, int]] | None = None,
    out: Tensor | None = None,
    mode: str = BILINEAR,
) -> Tensor:
    """Features of n pixels: stored maps [h, w, c] float16, grid rows and columns [n] -> [n, C] float16.

    ``maps`` may be parts that start at ``origins``. The features go to ``out`` where it is given. Pixels that
    share rows share their interpolation, so bands of them are fastest, in the order of their rows.
    """
    channels = sum(layer.channels for layer in layers)
    result = (
        out
        if out is not None
        else torch.empty((len(rows), channels), dtype=torch.float16, device=maps[0].device)
    )
    if not len(rows):
        return result
    shared = torch.unique(rows, return_inverse=True)
    start = 0
    for position, (source, layer) in enumerate(zip(maps, layers, strict=True)):
        origin = origins[position] if origins else (0, 0)
        target = result[:, start : start + layer.channels]
        if mode == NEAREST:
            target.copy_(resize_pixels(source, layer.resolution, grid, rows, columns, origin, mode))
        else:
            _resize_pixels_into(target, source, layer.resolution, grid, (rows, columns), shared, origin)
        start += layer.channels
    return result


def _resize_pixels_into(
    target: Tensor,
    source: Tensor,
    size: tuple[int, int],
    grid: tuple[int, int],
    pixels: tuple[Tensor, Tensor],
    shared: tuple[Tensor, Tensor],
    origin: tuple[int, int],
) -> None:
    """``resize_pixels`` of one layer, bilinear, into ``target`` [n, c]. ``shared``: the rows without
    repetition, and each pixel's place among them.
    """
    (rows, columns), (unique_rows, place) = pixels, shared
    if size == grid:
        target.copy_(source[rows - origin[0], columns - origin[1]])
    elif size[1] == grid[1] or len(unique_rows) * source.shape[1] > 2 * len(rows):
        target.copy_(resize_pixels(source, size, grid, rows, columns, origin))
    else:  # rows first, once for all pixels of a row
        first, last = source_range(size[0], grid[0], int(unique_rows[0]), int(unique_rows[-1]) + 1)
        needed = source[first - origin[0] : last - origin[0]].to(torch.float32)
        lerped = _lerp_axis(needed, 0, size[0], grid[0], unique_rows, first)  # [R, w', c]
        left, right, weight = axis_taps(size[1], grid[1], columns)
        start = place * source.shape[1] - origin[1]
        _blend_rows_into(target, lerped.flatten(0, 1), left + start, right + start, weight)


def _blend_rows_into(target: Tensor, values: Tensor, lower: Tensor, upper: Tensor, weight: Tensor) -> None:
    """``_blend`` of rows ``lower`` and ``upper`` [n] of ``values`` [m, c] float32 into ``target`` [n, c], in
    blocks that stay in a CPU's cache.
    """
    num, channels = target.shape
    step = num if target.device.type != "cpu" else max(1, _PIXEL_BLOCK_BYTES // (4 * channels))
    taps = values.new_empty((2, min(step, num), channels))  # once: new pages cost more than the arithmetic
    for first in range(0, num, step):
        block = slice(first, min(first + step, num))
        below, above = taps[:, : block.stop - first]
        torch.index_select(values, 0, lower[block], out=below)
        torch.index_select(values, 0, upper[block], out=above)
        target[block] = _blend(below, above, weight[block, None])
