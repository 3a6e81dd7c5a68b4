"""Writing a feature store: created whole, filled image by image, resumed by the same call.

An image's arrays are written, forced to disk, and only then marked in ``committed``. Every region is aligned
to shards and has one writer. Bytes are a function of the values alone, so a resumed store equals an
undisturbed one. The writer knows arrays and feature maps; it does not know what renders them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import BoundedSemaphore

import numpy as np
from torch import Tensor

from fstore import format as fmt
from fstore.chunks import read_markers
from fstore.creation import OpenGroup, create_group, require_array
from fstore.errors import MismatchError, StoreError
from fstore.interpolate import concatenate_block, to_stored
from fstore.location import Location
from fstore.shards import ShardWriter

BANDS_IN_FLIGHT = 2  # each holds a raw band and its compressed copy: about 2.8 times its raw size


class FeatureWriter:
    """A feature store being filled: hold it to know what is pending and to write images. Made by
    ``fstore.create``.
    """

    def __init__(
        self,
        location: Location,
        opened: OpenGroup,
        meta: fmt.FeatureMeta,
        num_images: int,
        latent_shape: Sequence[int],
    ):
        self.location = location
        self.meta = meta
        self.num_images = num_images
        specs = fmt.feature_arrays(meta, num_images, latent_shape)
        specs_and_marker = [*specs, fmt.committed_array("features", num_images)]
        self._shards = ShardWriter(location, opened.group, specs_and_marker)
        self._names = [spec.name for spec in specs]
        self._opened = opened

    def close(self) -> None:
        """Let other processes write. The end of the process, or of the object, does the same."""
        self._opened.close()

    def pending(self) -> list[int]:
        """Images that are not committed yet, ascending."""
        return [int(i) for i in np.flatnonzero(~read_markers(self._opened.group))]

    def write_image(
        self, image: int, maps: list[Tensor], picture: np.ndarray, mask: np.ndarray, latent: np.ndarray
    ) -> None:
        """Write one image whole, then commit it.

        Args:
            image: its index in the store.
            maps: feature maps, one [c, h, w] float32 a layer, native resolution; the list is emptied to free
                memory early.
            picture: (H, W, 3) uint8, rows after the crop.
            mask: (H, W) integer: class ids and, where there is one, the ignore label.
            latent: (D,) or (L, D) float32.

        Raises:
            StoreError: a shape or a label does not fit the store, or the image is committed already.
            OverflowError16: a feature does not fit float16.
        """
        self._check(image, maps, picture, mask, latent)
        stored = [to_stored(maps.pop(0), layer, self.meta.grid) for layer in self.meta.layers]
        for name in self._names:
            self._shards.clear(name, image)
        if self.meta.layout == "dense":
            self._write_bands(image, stored)
        else:
            for index, (layer, values) in enumerate(zip(self.meta.layers, stored, strict=True)):
                self._shards.write(
                    fmt.layer_array_name(index, layer), values.cpu().numpy()[None], (image, 0, 0, 0)
                )
        counts = fmt.class_counts(mask, len(self.meta.classes))
        dtype = fmt.mask_dtype(self.meta)
        self._write_part("images", image, picture)
        self._write_part("masks", image, mask.astype(dtype))
        self._write_part("latents", image, latent)
        self._write_part("class_counts", image, counts)
        self._shards.commit(image, 1)

    def _write_part(self, name: str, image: int, values: np.ndarray) -> None:
        self._shards.write(name, values[None], (image, *[0] * values.ndim))

    def _write_bands(self, image: int, stored: list[Tensor]) -> None:
        """Dense features, a band of 32 rows at a time, at most ``BANDS_IN_FLIGHT`` of them in memory."""
        slots = BoundedSemaphore(BANDS_IN_FLIGHT)
        futures: list[Future[None]] = []
        first_row = self.meta.crop_rows[0]
        columns = (0, self.meta.width)

        def write(values: np.ndarray, row: int) -> None:
            try:
                self._shards.write("features", values, (image, row, 0, 0))
            finally:
                slots.release()

        with ThreadPoolExecutor(BANDS_IN_FLIGHT, thread_name_prefix="fstore-write") as pool:
            for start, stop in fmt.bands(self.meta.height):
                slots.acquire()
                if any(future.done() and future.exception() for future in futures):
                    slots.release()
                    break
                rows = (first_row + start, first_row + stop)
                block = concatenate_block(stored, self.meta.layers, self.meta.grid, rows, columns)
                futures.append(pool.submit(write, block.cpu().numpy()[None], start))
                del block
            wait(futures)
        for future in futures:
            future.result()

    def _check(
        self, image: int, maps: list[Tensor], picture: np.ndarray, mask: np.ndarray, latent: np.ndarray
    ) -> None:
        height, width = self.meta.height, self.meta.width
        if not 0 <= image < self.num_images:
            raise StoreError(f"image {image}: expected 0 to {self.num_images - 1}")
        if read_markers(self._opened.group, image, image + 1).any():
            raise StoreError(
                f"image {image}: is committed already; create the store with overwrite to begin anew"
            )
        if len(maps) != len(self.meta.layers):
            raise StoreError(
                f"image {image}: got {len(maps)} feature maps, expected {len(self.meta.layers)}, one a layer"
            )
        for given, layer in zip(maps, self.meta.layers, strict=True):
            reduced = tuple(
                min(side, limit) for side, limit in zip(given.shape[1:], self.meta.grid, strict=True)
            )
            if given.shape[0] != layer.channels or reduced != layer.resolution:
                raise StoreError(
                    f"image {image}, layer {layer.name!r}: feature map is {tuple(given.shape)}, expected "
                    f"({layer.channels}, {layer.resolution[0]}, {layer.resolution[1]})"
                )
        latent_shape = self._shards.specs["latents"].shape[1:]
        for name, found, expected in (
            ("image", picture.shape, (height, width, 3)),
            ("mask", mask.shape, (height, width)),
            ("latent", latent.shape, latent_shape),
        ):
            if tuple(found) != tuple(expected):
                raise StoreError(
                    f"image {image}: {name} has shape {tuple(found)}, expected {tuple(expected)}"
                )
        if mask.dtype.kind not in "bui":
            raise StoreError(f"image {image}: mask has dtype {mask.dtype}, expected integers")
        strange = (mask < 0) | (mask >= len(self.meta.classes))
        if self.meta.ignore is not None:
            strange &= mask != self.meta.ignore
        if strange.any():
            raise StoreError(
                f"image {image}: mask has label {mask[strange][0]}, expected 0 to "
                f"{len(self.meta.classes) - 1}"
                + ("" if self.meta.ignore is None else f" or {self.meta.ignore} (ignored)")
            )


def open_features(
    path: str | os.PathLike[str],
    meta: fmt.FeatureMeta,
    num_images: int,
    latent_shape: Sequence[int],
    average_latent: np.ndarray | None,
    overwrite: bool,
) -> FeatureWriter:
    """See ``fstore.create``."""
    location = Location.parse(path)
    specs = [*fmt.feature_arrays(meta, num_images, latent_shape), fmt.committed_array("features", num_images)]
    small = {} if average_latent is None else {"average_latent": average_latent.astype(np.float32)}
    opened = create_group(location, meta.to_attribute(), specs, overwrite, small)
    shape = require_array(opened.group, "latents").shape
    if shape != (num_images, *latent_shape):
        opened.close()
        raise MismatchError(
            f"{location}: holds latents of shape {shape}, this run has {(num_images, *latent_shape)}; "
            "use the same latents, another store, or --overwrite to start anew"
        )
    return FeatureWriter(location, opened, meta, num_images, latent_shape)
