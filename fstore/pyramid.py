"""Computes dense features from a pyramid. It reads only those parts of the maps that it needs.

It knows layers and where their maps lie. It does not know which images are committed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from fstore import format as fmt
from fstore.chunks import CheckedArray, read_together
from fstore.interpolate import concatenate_block, concatenate_pixels, source_range

Span = tuple[int, int]  # [start, stop)


class Pyramid:
    """The maps of a pyramid store. A class, because it keeps what tells where they lie.

    ``array`` gives a layer's array by its path. Images are numbered as on disk, rows as in the store, after
    the crop. Every read raises CorruptionError where a chunk is absent or damaged.
    """

    def __init__(self, meta: fmt.FeatureMeta, array: Callable[[str], CheckedArray]) -> None:
        self._meta = meta
        self._array = array

    def maps(self, image: int) -> list[Tensor]:
        """Every layer of an image whole, [h, w, c] float16 each, uncropped."""
        return self._parts(image, (0, self._meta.grid[0]), (0, self._meta.grid[1]), self._meta.layers)[0]

    def region(self, region: fmt.Region) -> np.ndarray:
        """A region [start, stop) of each axis of the dense features (N, H, W, C): float16 of its shape."""
        (first_image, last_image), rows, columns, (first, last) = region
        top_bottom = self._grid_rows(rows)
        out = np.empty([stop - start for start, stop in region], np.float16)
        layers = [la for la in self._meta.layers if la.offset < last and la.offset + la.channels > first]
        if not out.size:
            return out
        for place, image in enumerate(range(first_image, last_image)):
            maps, origins = self._parts(image, top_bottom, columns, layers)
            block = concatenate_block(
                maps, layers, self._meta.grid, top_bottom, columns, origins, mode=self._meta.upsample
            )
            out[place] = block.numpy()[..., first - layers[0].offset : last - layers[0].offset]
        return out

    def pixels(self, image: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Features (n, C) float16 of n pixels of one image, at int64 ``rows`` and ``columns``."""
        meta = self._meta
        grid_rows = torch.from_numpy(rows + meta.crop_rows[0])
        spans = (int(grid_rows.min()), int(grid_rows.max()) + 1), (int(columns.min()), int(columns.max()) + 1)
        maps, origins = self._parts(image, *spans, meta.layers)
        out = np.empty((len(rows), meta.channels), np.float16)
        concatenate_pixels(
            maps,
            meta.layers,
            meta.grid,
            grid_rows,
            torch.from_numpy(columns),
            origins,
            out=torch.from_numpy(out),  # numpy's memory: it asks the kernel for large pages, torch does not
            mode=meta.upsample,
        )
        return out

    def band_bytes(self, start: int, stop: int) -> int:
        """Uncompressed bytes of the chunks that rows [start, stop) are computed from."""
        total = 0
        for layer in self._meta.layers:
            (h, w), side = layer.resolution, min(layer.resolution[0], fmt.PYRAMID_CHUNK)
            first, last = source_range(
                h, self._meta.grid[0], *self._grid_rows((start, stop)), self._meta.upsample
            )
            chunk_rows = min(fmt.round_up(last, side), h) - first // side * side
            total += chunk_rows * w * layer.channels * 2
        return total

    def _grid_rows(self, rows: Span) -> Span:
        return rows[0] + self._meta.crop_rows[0], rows[1] + self._meta.crop_rows[0]

    def _parts(
        self, image: int, rows: Span, columns: Span, layers: Sequence[fmt.LayerInfo]
    ) -> tuple[list[Tensor], list[tuple[int, int]]]:
        """The parts of the maps of ``layers`` that grid ``rows`` x ``columns`` are interpolated from, and
        the row and column at which each part starts.
        """
        wanted, origins = [], []
        grid, mode = self._meta.grid, self._meta.upsample
        for index, layer in enumerate(self._meta.layers):
            if layer not in layers:
                continue
            h, w = layer.resolution
            y, x = source_range(h, grid[0], *rows, mode), source_range(w, grid[1], *columns, mode)
            wanted.append(
                (
                    self._array(fmt.layer_array_name(index, layer)),
                    ((image, image + 1), y, x, (0, layer.channels)),
                )
            )
            origins.append((y[0], x[0]))
        # torch wants writable arrays
        maps = [torch.from_numpy(np.require(v[0], requirements="W")) for v in read_together(wanted)]
        return maps, origins
