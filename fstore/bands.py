"""Makes the dense features of an image band by band, in a few host buffers that are used again and again.

On a GPU a band is computed there and copied to pinned memory on a stream of its own while the next one is
computed. This module knows maps and bands. It does not know where they are written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np
import torch
from torch import Tensor

from fstore import format as fmt
from fstore.interpolate import concatenate_block


@dataclass(frozen=True)
class Band:
    """One band on its way to the disk. It holds its buffer until the writer gives it back."""

    start: int
    """Its first row, counted after the crop."""
    buffer: Tensor
    rows: Tensor
    """[R, W, C] float16 on the host, a part of ``buffer``."""
    copied: torch.cuda.Event | None = None
    """Happens when the rows have arrived in host memory; None where they are there from the start."""

    def values(self) -> np.ndarray:
        """(R, W, C) float16. Waits until the copy from a GPU has ended."""
        if self.copied is not None:
            self.copied.synchronize()
        return np.asarray(self.rows.numpy())


class BandMaker:
    """Makes bands in a fixed number of buffers, which bounds the memory.

    The buffers are kept from image to image, because touching fresh memory for every band costs as much as
    filling it. One thread at a time may ask for bands; any thread may give one back.
    """

    def __init__(self, meta: fmt.FeatureMeta, num_buffers: int) -> None:
        self.meta = meta
        self._num_buffers = num_buffers
        self._made: list[Tensor] = []  # when first needed, for the device that the maps are on
        self._free: SimpleQueue[Tensor | None] = SimpleQueue()
        self._gpu: _GpuSide | None = None

    def give_back(self, band: Band) -> None:
        """Give a band's buffer to the next one: its values are no longer needed."""
        if band.copied is not None:
            band.copied.synchronize()
        self._free.put(band.buffer)

    def bands(self, maps: Sequence[Tensor]) -> Iterator[Band]:
        """Every band of an image, top to bottom, from its stored maps [h, w, c] float16.

        A GPU must have computed the maps before the call. It waits for a buffer where all are taken. Bands of
        earlier images must no longer be in use: the call takes all buffers back, also those that were not
        given back because of an error.
        """
        self._free = SimpleQueue()
        for buffer in [*self._made, *[None] * (self._num_buffers - len(self._made))]:
            self._free.put(buffer)
        if maps[0].device.type == "cuda":
            yield from self._bands_of_gpu(maps)
            return
        for start, stop in fmt.bands(self.meta.height):
            buffer = self._take(pinned=False)
            yield Band(start, buffer, self._compute(maps, start, stop, buffer))

    def _bands_of_gpu(self, maps: Sequence[Tensor]) -> Iterator[Band]:
        if self._gpu is None:
            self._gpu = _GpuSide(maps[0].device, self._band_shape())
        gpu = self._gpu
        try:
            for number, (start, stop) in enumerate(fmt.bands(self.meta.height)):
                buffer = self._take(pinned=True)
                block, left = gpu.blocks[number % 2], gpu.left[number % 2]
                gpu.computing.wait_event(left)  # the copy of the band before the last
                with torch.cuda.stream(gpu.computing):
                    rows = self._compute(maps, start, stop, block)
                gpu.copying.wait_stream(gpu.computing)
                on_host = buffer[: stop - start]
                with torch.cuda.stream(gpu.copying):
                    on_host.copy_(rows, non_blocking=True)
                left.record(gpu.copying)
                copied = torch.cuda.Event(blocking=True)
                copied.record(gpu.copying)
                yield Band(start, buffer, on_host, copied)
        finally:  # also where the caller stops early: after this the maps may be freed
            gpu.computing.synchronize()
            gpu.copying.synchronize()

    def _compute(self, maps: Sequence[Tensor], start: int, stop: int, buffer: Tensor) -> Tensor:
        first = self.meta.crop_rows[0]
        rows = (first + start, first + stop)
        out = buffer[: stop - start]  # [R, W, C]
        columns = (0, self.meta.width)
        return concatenate_block(
            maps, self.meta.layers, self.meta.grid, rows, columns, out=out, mode=self.meta.upsample
        )

    def _take(self, *, pinned: bool) -> Tensor:
        buffer = self._free.get()
        if buffer is None:
            buffer = torch.empty(self._band_shape(), dtype=torch.float16, pin_memory=pinned)
            self._made.append(buffer)
        return buffer

    def _band_shape(self) -> tuple[int, int, int]:
        return (min(fmt.BAND, self.meta.height), self.meta.width, self.meta.channels)


class _GpuSide:
    """Streams and two blocks on the GPU: one block is computed while the other is copied.

    They are kept from image to image, because the allocator keeps the freed memory of each stream apart.
    """

    def __init__(self, device: torch.device, shape: tuple[int, int, int]) -> None:
        self.computing = torch.cuda.Stream(device)
        self.copying = torch.cuda.Stream(device)
        with torch.cuda.stream(self.computing):  # no other stream's work has been in this memory
            self.blocks = [torch.empty(shape, dtype=torch.float16, device=device) for _ in range(2)]
        self.left = [torch.cuda.Event() for _ in range(2)]
