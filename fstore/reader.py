"""Reading stores: lazy dask arrays over committed images, exact features of arbitrary pixels, and a view for
people.

``open_store`` gives a ``FeatureStore`` or a ``Dataset`` by the store's kind. Dask blocks follow the shards,
so that no shard is opened for each of its chunks. Nothing is read until it is asked for, and nothing here
writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import dask.array as da
import numpy as np
import torch
import zarr
from dask.base import tokenize

from fstore import format as fmt
from fstore.chunks import CheckedArray, read_markers
from fstore.display import describe, describe_html
from fstore.errors import StoreError
from fstore.interpolate import concatenate_block, concatenate_pixels, source_range
from fstore.location import Location, get_array, get_attribute
from fstore.views import View


class Store:
    """What both kinds share: the place, the committed images, lazy arrays of them."""

    meta: fmt.Meta

    def __init__(self, location: Location, group: zarr.Group, image_ids: np.ndarray) -> None:
        self.location = location
        self._group = group
        self.image_ids = image_ids
        self._checked: dict[str, CheckedArray] = {}

    def array(self, name: str) -> CheckedArray:
        """The array on disk, all N images of it, read with absent and damaged chunks refused."""
        if name not in self._checked:
            array = get_array(self._group, name)
            if array is None:
                raise StoreError(
                    f"{self.location}: array {name!r} is missing; the store is not whole, run `dgan verify`"
                )
            self._checked[name] = CheckedArray(array, str(self.location))
        return self._checked[name]

    def lazy(self, name: str) -> da.Array:
        """A dask array of the committed images of one array, compacted; blocks follow the shards."""
        checked = self.array(name)
        array = checked.array
        return self._dask(name, array.shape[1:], str(array.dtype), array.shards or array.chunks, checked.read)

    def _dask(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: str,
        blocks: tuple[int, ...],
        read: Callable[[fmt.Region], np.ndarray],
    ) -> da.Array:
        view = View((len(self.image_ids), *shape), dtype, self.image_ids, read)
        chunks = tuple(min(block, max(size, 1)) for block, size in zip(blocks, view.shape, strict=True))
        identity = (str(self.location), name, self.image_ids.tolist(), self.meta.to_attribute())
        token = f"fstore-{name}-{tokenize(identity)}"
        return da.from_array(
            view, chunks=chunks, name=token, asarray=True, fancy=False, meta=np.empty((0,) * view.ndim, dtype)
        )

    @property
    def num_images(self) -> int:
        """N: images that the store is made for, committed or not."""
        return int(self.array("committed").array.shape[0])

    @property
    def images(self) -> da.Array:
        """(n, H, W, 3) uint8."""
        return self.lazy("images")

    @property
    def latents(self) -> da.Array:
        """(n, D) or (n, L, D) float32."""
        return self.lazy("latents")

    @property
    def keypoints(self) -> da.Array:
        """(n, K, 3) float32: x, y in pixels, the centre of pixel (row, column) at (column, row) + 0.5; then
        1 or 0 in a feature store, where 0 is not labelled, and the confidence in a dataset. Raises StoreError
        for a store without keypoints.
        """
        if self.meta.keypoints is None:
            raise StoreError(f"{self.location}: is a store of labels, it has no keypoints")
        return self.lazy("keypoints")

    def array_names(self) -> list[str]:
        """Paths of all arrays of the group."""
        return sorted(name for name, item in self._group.members(max_depth=2) if isinstance(item, zarr.Array))

    def __repr__(self) -> str:
        return describe(self)

    def _repr_html_(self) -> str:
        return describe_html(self)

    def __len__(self) -> int:
        return len(self.image_ids)


class FeatureStore(Store):
    """An open feature store. Only committed images are visible, at positions 0 to n - 1; ``image_ids`` are
    their indices.
    """

    def __init__(
        self, location: Location, group: zarr.Group, image_ids: np.ndarray, meta: fmt.FeatureMeta
    ) -> None:
        super().__init__(location, group, image_ids)
        self.meta: fmt.FeatureMeta = meta

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
        return self._dask("features", self.shape[1:], "float16", blocks, self._pyramid_region)

    @property
    def masks(self) -> da.Array:
        """(n, H, W) uint8 or uint16: class ids, and the ignore label where the annotation has none."""
        return self.lazy("masks")

    @cached_property
    def class_counts(self) -> np.ndarray:
        """(n, ceil(H/16), ceil(W/16), K) uint16: pixels of each class in each 16 x 16 tile."""
        return np.asarray(self.lazy("class_counts").compute(scheduler="sync"))

    @property
    def average_latent(self) -> np.ndarray | None:
        """(D,) or (L, D) float32 that truncation pulled toward, or None where the store has none."""
        if "average_latent" not in self._group:
            return None
        checked = self.array("average_latent")
        return checked.read(tuple((0, size) for size in checked.array.shape))

    def read_masks(self, images: Sequence[int]) -> np.ndarray:
        """Masks of ``images`` (positions): (n, H, W)."""
        height, width = self.shape[1:3]
        checked = self.array("masks")
        region = ((0, height), (0, width))
        ids = [int(self.image_ids[i]) for i in images]
        return np.concatenate([checked.read(((i, i + 1), *region)) for i in ids])

    @property
    def unit_tiles(self) -> tuple[int, int]:
        """16 x 16 tiles in a sampling unit: one in ``dense``, a 32-row band in ``pyramid``."""
        return (1, 1) if self.layout == "dense" else (fmt.BAND // fmt.TILE, -(-self.meta.width // fmt.TILE))

    @property
    def read_unit_bytes(self) -> int:
        """Uncompressed bytes of the chunks that reading one sampling unit touches, at most."""
        if self.layout == "dense":
            return fmt.TILE * fmt.TILE * self.meta.channels * 2
        return max(self._band_bytes(start, stop) for start, stop in fmt.bands(self.meta.height))

    def _band_bytes(self, start: int, stop: int) -> int:
        total = 0
        for layer in self.meta.layers:
            (h, w), side = layer.resolution, min(layer.resolution[0], fmt.PYRAMID_CHUNK)
            top, bottom = start + self.meta.crop_rows[0], stop + self.meta.crop_rows[0]
            first, last = source_range(h, self.meta.grid[0], top, bottom, self.meta.upsample)
            chunk_rows = min(fmt.round_up(last, side), h) - first // side * side
            total += chunk_rows * w * layer.channels * 2
        return total

    def native_maps(self, image: int) -> list[torch.Tensor]:
        """Every layer of a committed image (a position), at its own resolution: [h, w, c] float16 each.

        Raises StoreError for a dense store, which has none.
        """
        if self.layout != "pyramid":
            raise StoreError(f"{self.location}: layout is {self.layout!r}; only a pyramid has native maps")
        return self._native_parts(int(self.image_ids[image]), (0, self.meta.grid[0]), (0, self.meta.grid[1]))[
            0
        ]

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
        read = self._dense_pixels if self.layout == "dense" else self._pyramid_pixels
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

    def _pyramid_pixels(self, image: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        grid_rows = torch.from_numpy(rows + self.meta.crop_rows[0])
        spans = (int(grid_rows.min()), int(grid_rows.max()) + 1), (int(columns.min()), int(columns.max()) + 1)
        maps, origins = self._native_parts(image, *spans)
        out = np.empty((len(rows), self.meta.channels), np.float16)
        concatenate_pixels(
            maps,
            self.meta.layers,
            self.meta.grid,
            grid_rows,
            torch.from_numpy(columns),
            origins,
            out=torch.from_numpy(out),  # numpy's memory: it asks the kernel for large pages, torch does not
            mode=self.meta.upsample,
        )
        return out

    def _pyramid_region(self, region: fmt.Region) -> np.ndarray:
        """A block of the dense features built from the native maps: region of (N, H, W, C) -> float16."""
        (first_image, last_image), rows, columns, (first, last) = region
        top, bottom = (row + self.meta.crop_rows[0] for row in rows)
        out = np.empty([stop - start for start, stop in region], np.float16)
        layers = [la for la in self.meta.layers if la.offset < last and la.offset + la.channels > first]
        if not out.size:
            return out
        for place, image in enumerate(range(first_image, last_image)):
            maps, origins = self._native_parts(image, (top, bottom), columns, layers)
            block = concatenate_block(
                maps, layers, self.meta.grid, (top, bottom), columns, origins, mode=self.meta.upsample
            )
            out[place] = block.numpy()[..., first - layers[0].offset : last - layers[0].offset]
        return out

    def _native_parts(
        self,
        image: int,
        rows: tuple[int, int],
        columns: tuple[int, int],
        layers: Sequence[fmt.LayerInfo] | None = None,
    ) -> tuple[list[torch.Tensor], list[tuple[int, int]]]:
        """The parts of the native maps that grid ``rows`` x ``columns`` are interpolated from, and where each
        starts.
        """
        maps, origins = [], []
        grid, mode = self.meta.grid, self.meta.upsample
        for index, layer in enumerate(self.meta.layers):
            if layers is not None and layer not in layers:
                continue
            h, w = layer.resolution
            y, x = source_range(h, grid[0], *rows, mode), source_range(w, grid[1], *columns, mode)
            name = fmt.layer_array_name(index, layer)
            region = ((image, image + 1), y, x, (0, layer.channels))
            values = self.array(name).read_in_thread(region)[0]
            maps.append(
                torch.from_numpy(np.require(values, requirements="W"))
            )  # torch wants no read-only one
            origins.append((y[0], x[0]))
        return maps, origins


class Dataset(Store):
    """An open dataset: labelled images with their divergence; ``kept`` says which of them the filter
    keeps.
    """

    def __init__(
        self, location: Location, group: zarr.Group, image_ids: np.ndarray, meta: fmt.DatasetMeta
    ) -> None:
        super().__init__(location, group, image_ids)
        self.meta: fmt.DatasetMeta = meta

    @property
    def labels(self) -> da.Array:
        """(n, H, W) uint8 or uint16: class ids by majority vote. Raises StoreError for keypoints."""
        if self.meta.keypoints is not None:
            raise StoreError(f"{self.location}: holds keypoints, not labels; see `heatmaps` and `keypoints`")
        return self.lazy("labels")

    @property
    def heatmaps(self) -> da.Array:
        """(n, H, W, K) float16: mean of the members' heat maps, 1 at a certain keypoint, 0 far from it."""
        if self.meta.keypoints is None:
            raise StoreError(f"{self.location}: holds labels, no heat maps; see `labels`")
        return self.lazy("heatmaps")

    @property
    def divergence(self) -> da.Array:
        """(n, H, W) float16: Jensen-Shannon divergence of the members at each pixel, nats; of heat maps their
        variance between members, averaged over the keypoints.
        """
        return self.lazy("divergence")

    @cached_property
    def uncertainty(self) -> np.ndarray:
        """(n,) float32: each image's score; larger is less certain."""
        return self._vector("uncertainty")

    @property
    def complete(self) -> bool:
        """Whether every image is committed."""
        return len(self.image_ids) == self.num_images

    @property
    def kept(self) -> np.ndarray:
        """(n,) bool: the images that the filter keeps. Raises StoreError before the filter has been set."""
        if self.meta.keep is None:
            raise StoreError(
                f"{self.location}: no filter is set yet; run `dgan synthesize` to its end, or `dgan filter`"
            )
        return self._vector("kept")

    def _vector(self, name: str) -> np.ndarray:
        checked = self.array(name)
        size = checked.array.shape[0]
        return (
            checked.read(((0, size),))[self.image_ids]
            if len(self.image_ids) == size
            else self._partial_vector(name)
        )

    def _partial_vector(self, name: str) -> np.ndarray:
        checked = self.array(name)
        values = [checked.read(((int(i), int(i) + 1),)) for i in self.image_ids]
        return np.concatenate(values) if values else np.empty(0, checked.array.dtype)


def _same_length(*arrays: Sequence[int] | np.ndarray) -> tuple[Sequence[int] | np.ndarray, ...]:
    lengths = [np.size(a) for a in arrays]
    if len(set(lengths)) != 1:
        raise StoreError(f"images, rows and columns have lengths {lengths}: expected the same length")
    return arrays


def open_store(location: Location) -> FeatureStore | Dataset:
    """Open a store for reading. Raises StoreError for what is no store of this version."""
    group = location.open_group()
    attribute = get_attribute(group)
    if attribute is None:
        raise StoreError(
            f"{location}: is a Zarr group without attribute 'fstore'; expected a store written by dgan"
        )
    if attribute.get("creating"):
        raise StoreError(f"{location}: its creation was cut off; run the command that writes it again")
    fmt.check_attribute(attribute, None, str(location))
    if get_array(group, "committed") is None:
        raise StoreError(
            f"{location}: array 'committed' is missing; the store is not whole, write it again with "
            "--overwrite"
        )
    ids = np.flatnonzero(read_markers(group))
    if attribute.get("kind") == "dataset":
        return Dataset(location, group, ids, fmt.DatasetMeta.from_attribute(attribute, str(location)))
    return FeatureStore(location, group, ids, fmt.FeatureMeta.from_attribute(attribute, str(location)))
