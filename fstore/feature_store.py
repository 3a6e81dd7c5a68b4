"""A feature store that is open for reading: features (n, H, W, C) as a lazy dask array, or of single pixels.

It knows both layouts and gives the same bits from either. It knows no batches and no plans of reading. torch
and dask are imported when features are first asked for: masks and pictures need neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fstore import format as fmt
from fstore.chunks import CheckedArray, read_together
from fstore.errors import StoreError
from fstore.inventory import Inventory
from fstore.location import RESTORE
from fstore.store import Store
from fstore.values import image_numbers
from fstore.views import View

if TYPE_CHECKING:
    import dask.array as da
    import torch

    from fstore.pyramid import Pyramid


class FeatureStore(Store):
    """An open feature store. Only committed images are visible, at positions 0 to n - 1; ``image_ids`` are
    their indices.
    """

    def __init__(self, inventory: Inventory, image_ids: np.ndarray, meta: fmt.FeatureMeta) -> None:
        super().__init__(inventory, image_ids)
        self.meta: fmt.FeatureMeta = meta

    @cached_property
    def _pyramid(self) -> Pyramid:
        """The maps of a store of that layout."""
        from fstore.pyramid import Pyramid

        return Pyramid(self.meta, self.array)

    @cached_property
    def image_numbers(self) -> tuple[int, ...]:
        """The number of each image at its index, committed or not: that of its annotation's file. It is the
        index itself where ``meta.inputs`` records none.

        Raises StoreError where what is recorded is no list of different numbers, or lacks that of a committed
        image. It may be of more or fewer images than the store, where a change of its length was cut off.
        """
        found = self.meta.inputs.get("image_numbers")
        if found is None:
            return tuple(range(self.num_images))
        num_named = int(self.image_ids[-1]) + 1 if len(self.image_ids) else 0
        try:
            return image_numbers("inputs.image_numbers", found, num_named)
        except StoreError as error:
            raise StoreError(
                f"{self.location}: attribute 'fstore' is malformed ({error}); {RESTORE}"
            ) from None

    @property
    def layout(self) -> str:
        """``dense`` or ``pyramid``."""
        return self.meta.layout

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, H, W, C) of ``features``."""
        return len(self.image_ids), self.meta.height, self.meta.width, self.meta.channels

    @property
    def features(self) -> da.Array:
        """(n, H, W, C) float16, the same bits from either layout; a pyramid's blocks are built when they are
        computed.
        """
        if self.layout == "dense":
            return self.lazy("features")
        blocks = (1, fmt.BAND, self.meta.width, self.meta.channels)
        return self._dask("features", self.shape[1:], "float16", blocks, self._pyramid.region)

    @property
    def masks(self) -> da.Array:
        """(n, H, W) uint8 or uint16: class ids, and the ignore label where the annotation has none."""
        return self.lazy("masks")

    @cached_property
    def class_counts(self) -> np.ndarray:
        """(n, ceil(H/16), ceil(W/16), K) uint16: pixels of each class in each 16 x 16 tile."""
        checked = self.array("class_counts")
        shape = (len(self.image_ids), *checked.array.shape[1:])
        view = View(shape, str(checked.array.dtype), self.image_ids, checked.read)
        return view[:]  # without dask, whose import takes longer than the read

    @cached_property
    def average_latent(self) -> np.ndarray | None:
        """The latent toward which truncation pulled, (D,) or (L, D) float32; None where the store has none.

        It is read once. A long run that needs it at its end asks for it before it begins, to find damage
        early. Raises CorruptionError where it is damaged.
        """
        array = self._inventory.average_latent()
        if array is None:
            return None
        return CheckedArray(array, self.location).read(tuple((0, size) for size in array.shape))

    def read_masks(self, images: Sequence[int]) -> np.ndarray:
        """Masks of ``images`` (positions): (n, H, W)."""
        height, width = self.shape[1:3]
        checked = self.array("masks")
        region = ((0, height), (0, width))
        ids = [int(self.image_ids[i]) for i in images]
        return np.concatenate(read_together([(checked, ((i, i + 1), *region)) for i in ids]))

    @property
    def unit_tiles(self) -> tuple[int, int]:
        """16 x 16 tiles in a sampling unit: one in ``dense``, a 32-row band in ``pyramid``."""
        return (1, 1) if self.layout == "dense" else (fmt.BAND // fmt.TILE, -(-self.meta.width // fmt.TILE))

    @property
    def read_unit_bytes(self) -> int:
        """Uncompressed bytes of the chunks that reading one sampling unit touches, at most."""
        if self.layout == "dense":
            return fmt.TILE * fmt.TILE * self.meta.channels * 2
        return max(self._pyramid.band_bytes(start, stop) for start, stop in fmt.bands(self.meta.height))

    def native_maps(self, image: int) -> list[torch.Tensor]:
        """Every layer of a committed image (a position), at its own resolution: [h, w, c] float16 each.

        Raises StoreError for a dense store, which has none.
        """
        if self.layout != "pyramid":
            raise StoreError(f"{self.location}: layout is {self.layout!r}; only a pyramid has native maps")
        return self._pyramid.maps(int(self.image_ids[image]))

    def recovered_maps(self, image: int) -> list[torch.Tensor]:
        """Maps of every layer of a committed image (a position), [h, w, c] float16 each, from which its
        features are interpolated: of a pyramid its own, of a dense store ones that are worked out from all of
        its features, up to the rounding of float16.
        """
        if self.layout == "pyramid":
            return self.native_maps(image)
        from fstore.recover import recover_maps

        features, place = self.array("features"), int(self.image_ids[image])
        rest = ((0, self.meta.width), (0, self.meta.channels))
        return recover_maps(
            self.meta, lambda start, stop: features.read(((place, place + 1), (start, stop), *rest))[0]
        )

    def pixels(
        self,
        images: Sequence[int] | np.ndarray,
        rows: Sequence[int] | np.ndarray,
        columns: Sequence[int] | np.ndarray,
    ) -> np.ndarray:
        """Exact features of n pixels: (n, C) float16, the bits of ``features[images[i], rows[i],
        columns[i]]``.

        Args:
            images: positions among the committed images.
            rows: rows after the crop, in [0, H).
            columns: in [0, W).

        Raises:
            StoreError: the three differ in length, or an index is out of range. CorruptionError: a chunk is
            damaged.
        """
        index = np.stack(
            [np.atleast_1d(np.asarray(a, dtype=np.int64)) for a in _same_length(images, rows, columns)]
        )
        for name, values, size in zip(("images", "rows", "columns"), index, self.shape[:3], strict=True):
            if values.size and not 0 <= values.min() <= values.max() < size:
                raise StoreError(
                    f"{name} reach from {values.min()} to {values.max()}, expected 0 to {size - 1}"
                )
        unit = (1, fmt.TILE, fmt.TILE) if self.layout == "dense" else (1, fmt.BAND, self.meta.width)
        cells = index // np.array(unit)[:, None]  # [3, n]
        read = self._dense_pixels if self.layout == "dense" else self._pyramid.pixels
        if index.shape[1] and (cells == cells[:, :1]).all():  # one unit, as the sampler asks
            return read(int(self.image_ids[index[0, 0]]), index[1], index[2])
        out = np.empty((index.shape[1], self.meta.channels), np.float16)
        _, inverse = np.unique(cells, axis=1, return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(inverse[order])) + 1):
            if len(members):
                image = int(self.image_ids[index[0, members[0]]])
                out[members] = read(image, index[1, members], index[2, members])
        return out

    def _dense_pixels(self, image: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        top, left = int(rows[0]) // fmt.TILE * fmt.TILE, int(columns[0]) // fmt.TILE * fmt.TILE
        bottom, right = min(top + fmt.TILE, self.meta.height), min(left + fmt.TILE, self.meta.width)
        tile = self.array("features").read_in_thread(
            ((image, image + 1), (top, bottom), (left, right), (0, self.meta.channels))
        )[0]
        return tile[rows - top, columns - left]


def _same_length(*arrays: Sequence[int] | np.ndarray) -> tuple[Sequence[int] | np.ndarray, ...]:
    lengths = [np.size(a) for a in arrays]
    if len(set(lengths)) != 1:
        raise StoreError(f"images, rows and columns have lengths {lengths}: expected the same length")
    return arrays
