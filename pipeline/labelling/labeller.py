"""Labels whole images by the factored first layer: maps go through it at native resolution, and are then
resized.

Resizing is linear, and so is a classifier's first layer; the two commute. So each native map goes through the
first layer of all members as one matrix product. Then 128 or 256 values of each member are resized, and not
all channels. ``pipeline.labelling.level_plan`` sorts the maps:

* those a power of two coarser than the grid, by 4 or more, join one grid of nodes
  (``pipeline.labelling.node_grid``):
  ratios of 8 and more for a whole tile, ratio 4 for a band of it, while it is in the cache;
* those of half the grid's side or more are resized themselves, band by band: they have few channels, and at
  that size resizing the products would move more bytes than multiplying twice as often;
* those of any other ratio (a grid of 300, say) are resized after their product, the plain way.

Where the first layer reads fewer axes than a resolution has channels, as after training in a subspace, the
maps are first projected onto these axes (``pipeline.labelling.weight_axes``).

Taking the nearest value is linear too. It needs no nodes: coarse maps of every ratio are resized plainly.

A *tile* of grid rows bounds the memory; a *band* of a tile is what one thread works on, member after member.
It knows maps, an ensemble and a grid; it knows no generator and no store.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from threading import Lock

import torch
from torch import Tensor

from fstore.format import LayerInfo
from fstore.interpolate import BILINEAR, resize_block
from pipeline.labelling.level_plan import (
    CPU_TILE_ROWS,
    ROW_STEP,
    Level,
    cpu_band_rows,
    halved,
    rows_that_fit,
    tile_bytes,
)
from pipeline.labelling.tile import CutEnsemble, Maps, Tile
from pipeline.labelling.votes import AnyTally, Tally
from pipeline.machine.threads import parallel
from pipeline.models.folded import FoldedEnsemble


class ImageLabeller:
    """Labels images on the ensemble's device. A class because it holds the weights cut up by resolution."""

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
        """Cut the ensemble's weights up for these layers and this grid.

        Args:
            folded: the ensemble.
            layers: as stored, none finer than the grid.
            grid: (Hg, Wg), to which maps are resized.
            crop_rows: [a, b) of the grid's rows; only these are labelled.
            tile_rows: grid rows in work at once, a multiple of 8. None: on a GPU as many as a quarter of its
                memory holds, on a CPU 128.
            upsample: how maps are resized, finer ones included, as the interpreter has learnt them.
            tally: what the members' outputs are added up in.
        """
        self.layers, self.crop_rows, self.tally_type = tuple(layers), crop_rows, tally
        self.ensemble = CutEnsemble.of(folded, layers, grid, upsample)
        self.device = folded.weight1.device
        self.tile_rows = tile_rows or self._default_tile_rows()

    def label(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Labels [H, W] (uint8, int64 beyond 256 classes) and divergence [H, W] float32, nats.

        ``maps``: one [c, h, w] float32 for each layer, native resolution, on the ensemble's device. If one of
        their values is not finite, the whole divergence is NaN. If one output of a pixel is not finite, the
        divergence of that pixel is. If the device has no memory for a tile, tiles of half the rows are tried,
        down to 8.
        """
        return self._label_within_memory(maps, None)

    def label_and_count(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Labels and divergence as ``label`` gives them, and how the members voted: [K, K] int64.

        [a, b] of it is how often a member said b at pixels with label a, in the rows that the crop keeps.
        Also a member whose outputs at a pixel are not all finite has its vote there: what ``argmax`` gives.
        The labeller must add up in a ``Tally``.
        """
        num_classes = self.ensemble.folded.num_classes
        votes = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=self.device)
        labels, divergence = self._label_within_memory(maps, votes)
        return labels, divergence, votes

    def _label_within_memory(self, maps: Sequence[Tensor], votes: Tensor | None) -> tuple[Tensor, Tensor]:
        read = self._read(maps)
        while True:
            try:
                labels, divergence = self._label(read, votes)
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
        if self.device.type != "cpu":
            return self.tile_rows
        rows = min(self.tile_rows, self.crop_rows[1] - self.crop_rows[0])
        return cpu_band_rows(self.ensemble.grid[1], rows, torch.get_num_threads())

    def _default_tile_rows(self) -> int:
        if self.device.type != "cuda":
            return CPU_TILE_ROWS
        folded, grid, upsample = self.ensemble.folded, self.ensemble.grid, self.ensemble.upsample

        def needed(rows: int) -> int:
            return tile_bytes(
                self.layers,
                grid,
                stacked_width=folded.bias1.numel(),
                width=folded.width,
                num_classes=folded.num_classes,
                tile_rows=rows,
                num_bands=1,
                band_rows=rows,
                upsample=upsample,
            )

        # Of all memory, not of what is free: a resumed run shall choose as the first one did.
        _, total_bytes = torch.cuda.mem_get_info(self.device)
        return rows_that_fit(needed, grid[0], total_bytes // 4)

    @torch.inference_mode()
    def _read(self, maps: Sequence[Tensor]) -> Maps:
        ensemble = self.ensemble

        def stored(layer: int, dtype: torch.dtype) -> Tensor:
            resolution = self.layers[layer].resolution
            return reduce_to_grid(maps[layer], resolution, ensemble.grid, ensemble.upsample).to(dtype)

        def joined(level: Level) -> Tensor:
            axes, dtype = ensemble.axes.get(level.resolution), ensemble.folded.dtype
            if axes is None:
                return torch.cat([stored(i, dtype) for i in level.layers], dim=2)
            parts = axes.split([self.layers[i].channels for i in level.layers])
            pairs = zip(level.layers, parts, strict=True)
            return reduce(Tensor.add_, (stored(i, torch.float32) @ part for i, part in pairs)).to(dtype)

        return {level.resolution: joined(level) for level in ensemble.plan.levels}

    @torch.inference_mode()
    def _label(self, maps: Maps, votes: Tensor | None) -> tuple[Tensor, Tensor]:
        """Labels and divergence; the members' votes are written into ``votes`` [K, K], where it is given."""
        (top, bottom), (height, width) = self.crop_rows, self.ensemble.grid
        folded = self.ensemble.folded
        labels = self.tally_type.empty(bottom - top, width, folded.num_classes, self.device)
        divergence = torch.empty(bottom - top, width, device=self.device)
        if votes is not None:
            votes.zero_()
        lock = Lock()
        band_rows = self.band_rows  # of all threads; inside one of them torch has a single one

        def label_tile(first: int, last: int) -> None:
            tile = Tile(self.ensemble, maps, first, last)

            def label_band(start: int) -> None:
                stop = min(start + band_rows, last)
                tally = tile.tally(self.tally_type, start, stop)
                a, b = max(start, top), min(stop, bottom)  # the rows of it that the crop keeps
                kept = slice((a - start) * width, (b - start) * width)  # of the band's pixels
                majority = tally.labels()
                labels[a - top : b - top] = majority[kept].unflatten(0, (-1, width)).to(labels.dtype)
                divergence[a - top : b - top] = tally.divergence()[kept].view(-1, width)
                if votes is not None and isinstance(tally, Tally):
                    of_band = tally.votes_by_label(majority, kept)
                    with lock:  # bands are in several threads
                        votes.add_(of_band)

            parallel(tile.build_nodes, range(folded.num_members), self.device)
            parallel(label_band, range(first, min(last, bottom), band_rows), self.device)

        for first in range(top // ROW_STEP * ROW_STEP, bottom, self.tile_rows):
            label_tile(first, min(first + self.tile_rows, height))
        return labels, divergence


def _are_finite(maps: Maps) -> Tensor:
    """Whether all values of the maps are finite: a bool tensor on their device, which is not waited for.

    The outputs need not show it: oneDNN's ReLU, for example, turns NaN into 0.
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
