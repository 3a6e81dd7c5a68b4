"""Maps of images in a file without a name, for a sampler, where they do not fit memory.

The file is gone when the process ends, however it ends. It knows maps and layers. It does not know what is
in them.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING
from weakref import finalize

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fstore import format as fmt
from fstore.cache import LikeStore
from fstore.interpolate import concatenate_pixels, source_range
from fstore.local_files import errors_named

if TYPE_CHECKING:
    from fstore.feature_store import FeatureStore


class MapFile(LikeStore):
    """Maps of ``layers`` of some images of a store, in a temporary file in ``folder``.

    The sampler uses it in place of the store (``SampledStore``). ``read`` gives the maps of an image,
    [h, w, c] float16 each. Raises OSError, which names the folder, where they cannot all be written, as on a
    full disk.
    """

    def __init__(
        self,
        store: FeatureStore,
        images: Sequence[int],
        folder: Path,
        *,
        layers: Sequence[fmt.LayerInfo],
        read: Callable[[int], Sequence[Tensor]],
    ) -> None:
        super().__init__(store, sum(layer.channels for layer in layers))
        self._layers = layers
        with errors_named(folder):
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        finalize(self, self._file.close)
        self._start: dict[int, int] = {}
        for image in map(int, images):
            self._start[image] = self._file.tell()
            for part in read(image):
                content = part.contiguous().reshape(-1).view(torch.uint8).numpy().data
                with errors_named(folder):
                    _write_all(self._file, content)

    def pixels(
        self, images: NDArray[np.integer], rows: NDArray[np.integer], columns: NDArray[np.integer]
    ) -> NDArray[np.float16]:
        """Values (n, C) float16 of n pixels, as `fstore.cache.CachedPyramid` gives them."""
        out = np.empty((len(images), self.shape[3]), np.float16)
        for image in np.unique(images):
            chosen = np.flatnonzero(np.asarray(images) == image)
            grid_rows = np.asarray(rows, np.int64)[chosen] + self.meta.crop_rows[0]
            span = int(grid_rows.min()), int(grid_rows.max()) + 1
            parts, origins = self._read(int(image), span)
            values = concatenate_pixels(
                parts,
                self._layers,
                self.meta.grid,
                torch.from_numpy(grid_rows),
                torch.from_numpy(np.asarray(columns, np.int64)[chosen]),
                origins,
                mode=self.meta.upsample,
            )
            out[chosen] = values.numpy()
        return out

    def _read(self, image: int, rows: tuple[int, int]) -> tuple[list[Tensor], list[tuple[int, int]]]:
        """The rows of each map that grid ``rows`` are interpolated from, and where these parts start."""
        parts, origins, place = [], [], self._start[image]
        for layer in self._layers:
            (h, w), row = layer.resolution, layer.resolution[1] * layer.channels * 2
            first, last = source_range(h, self.meta.grid[0], *rows, self.meta.upsample)
            content = _read_all(self._file.fileno(), (last - first) * row, place + first * row)
            part = np.frombuffer(content, np.float16).reshape(last - first, w, layer.channels)
            parts.append(torch.from_numpy(part))
            origins.append((first, 0))
            place += prod(layer.resolution) * layer.channels * 2
        return parts, origins


def _write_all(file: IO[bytes], content: memoryview) -> None:
    """Write all bytes: the system may take a part of them alone, on a disk that gets full, or of 2 GiB."""
    while content:
        content = content[file.write(content) :]


def _read_all(descriptor: int, num_bytes: int, place: int) -> bytearray:
    """All bytes at a place, of which the system may give a part alone, as of 2 GiB."""
    content = bytearray()
    while len(content) < num_bytes:
        part = os.pread(descriptor, num_bytes - len(content), place + len(content))
        if not part:
            raise OSError(errno.EIO, "the temporary file of maps ends too early")
        content += part
    return content
