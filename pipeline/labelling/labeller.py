"""Labelling whole images by the factored first layer: classified at native resolution, resized afterwards.

Resizing is linear, and so is a classifier's first layer; the two commute. So each native map goes through the
first layer of all members as one matrix product, and what is resized is 128 or 256 values a member in place
of all channels. ``pipeline.labelling.level_plan`` sorts the maps:

* those a power of two coarser than the grid, by 4 or more, join one grid of nodes
  (``pipeline.labelling.node_grid``):
  ratios of 8 and more for a whole tile, ratio 4 for a band of it, while it is in the cache;
* those of half the grid's side or more are resized themselves, band by band: they have few channels, and at
  that size resizing the products would move more bytes than multiplying twice as often;
* those of any other ratio (a grid of 300, say) are resized after their product, the plain way.

Taking the nearest value is linear too; it needs no nodes, and coarse maps of every ratio go the plain way.

A *tile* of grid rows bounds the memory; a *band* of a tile is what one thread works on, member after member.
It knows maps, an ensemble and a grid; it knows no generator and no store.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fstore.format import LayerInfo
from fstore.interpolate import BILINEAR, resize_block, source_range
from pipeline.labelling.level_plan import (
    BAND_RATIO,
    CPU_BAND_ROWS,
    CPU_TILE_ROWS,
    ROW_STEP,
    Level,
    halved,
    plan_levels,
    rows_that_fit,
    tile_bytes,
)
from pipeline.labelling.node_grid import needed_rows, pad_centres, refine, to_pixels, window
from pipeline.labelling.votes import AnyTally, Tally
from pipeline.machine.threads import parallel
from pipeline.models.folded import FoldedEnsemble

Maps = dict[tuple[int, int], Tensor]
"""By native resolution: all its layers, [h, w, c] in the products' type."""


class ImageLabeller:
    """Labels images on the ensemble's device; a class because it holds the weights cut up by resolution."""

    def __init__(
        self,
        folded: FoldedEnsemble,
        layers: Sequence[LayerInfo],
        grid: tuple[int, int],
        crop_rows: tuple[int, int],
        *,
        tile_rows: int | None = None,
        upsample: str = BILINEAR,
        tally: type[AnyTally] = Tally,
    ) -> None:
        """``layers`` as stored, none finer than the grid. ``tile_rows``: a multiple of 8; None: by memory.

        By memory is, on a GPU, as many as a quarter of it holds, and on a CPU 128. ``upsample``: how maps are
        resized, finer ones included, as the interpreter has learnt them.
        """
        self.folded, self.layers, self.grid, self.crop_rows = folded, tuple(layers), grid, crop_rows
        self.device, self.upsample = folded.weight1.device, upsample
        self.tally_type = tally
        self.plan = plan_levels([layer.resolution for layer in layers], grid, upsample)
        self.tile_rows = tile_rows or self._default_tile_rows()
        self.weights = {
            level.resolution: folded.first_layer([self._channels(i) for i in level.layers])
            for level in (*self.plan.nodes.values(), *self.plan.other)
        }  # [E * h1, c] each
        self.heads = folded.heads([self._channels(i) for level in self.plan.fine for i in level.layers])

    def label(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Labels [H, W] (uint8, int64 beyond 256 classes) and divergence [H, W] float32, nats.

        ``maps``: one [c, h, w] float32 a layer, native resolution, on the ensemble's device. Where one value
        of them is not finite, all of the divergence is NaN. Where the device has no memory for a tile, tiles
        of half the rows are tried, down to 8.
        """
        read = self._read(maps)
        while True:
            try:
                labels, divergence = self._label(read)
                return labels, divergence.where(_are_finite(read), torch.nan)
            except torch.cuda.OutOfMemoryError:
                if self.tile_rows <= ROW_STEP:
                    raise
            self.tile_rows = halved(self.tile_rows)  # out here, where the error holds no tensor any more
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    @property
    def band_rows(self) -> int:
        """Rows that one thread works on at a time: few on a CPU, whose caches decide; else the tile."""
        return min(self.tile_rows, CPU_BAND_ROWS) if self.device.type == "cpu" else self.tile_rows

    def _default_tile_rows(self) -> int:
        if self.device.type != "cuda":
            return CPU_TILE_ROWS
        folded = self.folded

        def needed(rows: int) -> int:
            return tile_bytes(
                self.layers,
                self.grid,
                stacked_width=folded.bias1.numel(),
                width=folded.width,
                num_classes=folded.num_classes,
                tile_rows=rows,
                num_bands=1,
                band_rows=rows,
                upsample=self.upsample,
            )

        # Of all memory, not of what is free: a resumed run shall choose as the first one did.
        _, total_bytes = torch.cuda.mem_get_info(self.device)
        return rows_that_fit(needed, self.grid[0], total_bytes // 4)

    def _channels(self, layer: int) -> slice:
        info = self.layers[layer]
        return slice(info.offset, info.offset + info.channels)

    @torch.inference_mode()
    def _read(self, maps: Sequence[Tensor]) -> Maps:
        def stored(layer: int) -> Tensor:
            resolution = self.layers[layer].resolution
            return reduce_to_grid(maps[layer], resolution, self.grid, self.upsample).to(self.folded.dtype)

        return {
            level.resolution: torch.cat([stored(i) for i in level.layers], dim=2)
            for level in self.plan.levels
        }

    @torch.inference_mode()
    def _label(self, maps: Maps) -> tuple[Tensor, Tensor]:
        (top, bottom), width = self.crop_rows, self.grid[1]
        labels = self.tally_type.empty(bottom - top, width, self.folded.num_classes, self.device)
        divergence = torch.empty(bottom - top, width, device=self.device)

        def label_tile(first: int, last: int) -> None:
            tile = Tile(self, maps, first, last)

            def label_band(start: int) -> None:
                stop = min(start + self.band_rows, last)
                tally = tile.tally(start, stop)
                a, b = max(start, top), min(stop, bottom)  # the rows of it that the crop keeps
                kept = slice(a - start, b - start)
                labels[a - top : b - top] = tally.labels().unflatten(0, (-1, width))[kept].to(labels.dtype)
                divergence[a - top : b - top] = tally.divergence().view(-1, width)[kept]

            parallel(tile.build_nodes, range(self.folded.num_members), self.device)
            parallel(label_band, range(first, min(last, bottom), self.band_rows), self.device)

        for first in range(top // ROW_STEP * ROW_STEP, bottom, self.tile_rows):
            label_tile(first, min(first + self.tile_rows, self.grid[0]))
        return labels, divergence


class Tile:
    """Grid rows [first, last) of one image: the products of the coarse levels, then each member's nodes."""

    def __init__(self, labeller: ImageLabeller, maps: Maps, first: int, last: int) -> None:
        self._labeller, self._maps, self._folded = labeller, maps, labeller.folded
        self._first, self._last = first, last
        plan = labeller.plan
        bias: Tensor | None = self._folded.bias1.flatten().to(self._folded.dtype)
        self._products: dict[int, Tensor] = {}  # by ratio: [rows, w, E, h1], the rows that the tile needs
        for ratio in sorted(plan.nodes, reverse=True):
            rows = needed_rows(*window(first, last, ratio), plan.nodes[ratio].resolution[0])
            self._products[ratio] = self._product(plan.nodes[ratio], rows, bias)
            bias = None  # once is enough
        self._others: list[Tensor] = []
        for level in plan.other:
            rows = source_range(level.resolution[0], labeller.grid[0], first, last, labeller.upsample)
            self._others.append(self._product(level, rows, bias))
            bias = None
        self._nodes: list[Tensor | None] = [None] * self._folded.num_members

    def _product(self, level: Level, rows: tuple[int, int], bias: Tensor | None) -> Tensor:
        values = self._maps[level.resolution][slice(*rows)]  # [r, w, c]
        product = F.linear(values, self._labeller.weights[level.resolution], bias)
        return product.unflatten(2, (self._folded.num_members, self._folded.width))  # [r, w, E, h1]

    def build_nodes(self, member: int) -> None:
        """A member's nodes at spacing ``BAND_RATIO``, of all levels coarser than that."""
        nodes: Tensor | None = None
        for ratio in self._labeller.plan.ratios:
            if ratio > BAND_RATIO:
                nodes = self._refine(nodes, ratio, self._first, self._last, member)
        self._nodes[member] = nodes

    def _refine(self, nodes: Tensor | None, ratio: int, first: int, last: int, member: int) -> Tensor:
        """Nodes of spacing ``ratio`` around grid rows [first, last) -> of half that spacing, as few rows."""
        a, b = window(first, last, ratio)
        centres = None
        if ratio in self._products:
            size = self._labeller.plan.nodes[ratio].resolution[0]
            held, _ = needed_rows(*window(self._first, self._last, ratio), size)
            start, stop = needed_rows(a, b, size)
            centres = pad_centres(self._products[ratio][start - held : stop - held, :, member], a, b, size)
        finer = refine(nodes, centres)  # rows 2a to 2b
        start, stop = window(first, last, ratio // 2)
        return finer[start - 2 * a : stop - 2 * a + 1]

    def tally(self, first: int, last: int) -> AnyTally:
        """What all members say of grid rows [first, last)."""
        heads = self._labeller.heads
        num_pixels = (last - first) * self._labeller.grid[1]
        fine = self._fine_features(first, last)  # [P, c]
        prepared = None if fine is None else heads[0].prepare(fine)
        tally = self._labeller.tally_type(num_pixels, self._folded.num_classes, self._labeller.device)
        for member, head in enumerate(heads):
            tally.add(head.logits(self._coarse_part(first, last, member), prepared))
        return tally

    def _coarse_part(self, first: int, last: int, member: int) -> Tensor | None:
        """What the coarse levels give to the first layer's outputs, [P, h1]; None where there are none."""
        total = self._from_nodes(first, last, member)
        for level, product in zip(self._labeller.plan.other, self._others, strict=True):
            height, mode = self._labeller.grid[0], self._labeller.upsample
            held, _ = source_range(level.resolution[0], height, self._first, self._last, mode)
            resized = self._resize(product[:, :, member], level.resolution, first, last, held)
            total = resized if total is None else total.add_(resized)
        return None if total is None else total.flatten(0, 1).to(self._folded.dtype)

    def _from_nodes(self, first: int, last: int, member: int) -> Tensor | None:
        if not self._products:
            return None
        nodes, spacing = self._nodes[member], BAND_RATIO
        if nodes is not None:
            held = self._first // BAND_RATIO
            a, b = window(first, last, BAND_RATIO)
            nodes = nodes[a - held : b - held + 1]
        if nodes is None or BAND_RATIO in self._products:
            nodes, spacing = self._refine(nodes, BAND_RATIO, first, last, member), BAND_RATIO // 2
        return to_pixels(nodes, spacing)  # [rows, W, h1]

    def _fine_features(self, first: int, last: int) -> Tensor | None:
        """The fine levels resized to grid rows [first, last): [P, c]; None where there are none."""
        dtype, resolutions = self._folded.dtype, [level.resolution for level in self._labeller.plan.fine]
        parts = [self._resize(self._maps[size], size, first, last).to(dtype) for size in resolutions]
        return torch.cat(parts, dim=2).flatten(0, 1) if parts else None

    def _resize(self, values: Tensor, size: tuple[int, int], first: int, last: int, held: int = 0) -> Tensor:
        """A map of ``size`` at grid rows [first, last): [rows, W, c] float32. Its row ``held`` is the first
        of ``values`` [h, w, c].
        """
        grid, mode, device = self._labeller.grid, self._labeller.upsample, values.device
        rows, columns = torch.arange(first, last, device=device), torch.arange(grid[1], device=device)
        start, stop = source_range(size[0], grid[0], first, last, mode)
        return resize_block(values[start - held : stop - held], size, grid, rows, columns, (start, 0), mode)


def _are_finite(maps: Maps) -> Tensor:
    """Whether all values are, as a tensor on their device, which is not waited for.

    What follows need not show it: oneDNN's ReLU, for one, makes 0 of NaN.
    """
    return torch.stack([values.sum(dtype=torch.float32).isfinite() for values in maps.values()]).all()


def reduce_to_grid(
    values: Tensor, resolution: tuple[int, int], grid: tuple[int, int], mode: str = BILINEAR
) -> Tensor:
    """One map [c, h, w] float32 -> [h', w', c]; a map finer than the grid is reduced to it, by ``mode``."""
    size = (values.shape[1], values.shape[2])
    channels_last = values.permute(1, 2, 0)  # [h, w, c]
    if size == resolution:
        return channels_last
    rows = torch.arange(resolution[0], device=values.device)
    columns = torch.arange(resolution[1], device=values.device)
    target = (min(size[0], grid[0]), min(size[1], grid[1]))
    return resize_block(channels_last.contiguous(), size, target, rows, columns, mode=mode)
