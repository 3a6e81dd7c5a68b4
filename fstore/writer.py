"""Writing stores: created whole, filled image by image (or task by task), resumed by the same call.

An image's arrays are written, forced to disk, and only then marked in ``committed``. Every region is aligned
to shards and has one writer. Bytes are a function of the values alone, so a resumed store equals an
undisturbed one. The writer knows arrays and feature maps; it does not know what renders or labels.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import BoundedSemaphore
from typing import Any

import numpy as np
import zarr
from torch import Tensor
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.core.sync import sync

from fstore import format as fmt
from fstore.chunks import read_markers
from fstore.errors import MismatchError, StoreError
from fstore.interpolate import concatenate_block, to_stored
from fstore.location import ATTRIBUTE, Location, chunk_key, get_array, get_attribute, sync_file, sync_folders

ZSTD_LEVEL = 1  # measured: docs/performance.md
BANDS_IN_FLIGHT = 2  # each holds a raw band and its compressed copy: about 2.8 times its raw size


def create_group(
    location: Location,
    attribute: dict[str, Any],
    arrays: Sequence[fmt.ArraySpec],
    overwrite: bool,
    small: Mapping[str, np.ndarray],
) -> tuple[zarr.Group, bool]:
    """Open the store for writing, creating it where there is none. Returns the group and whether it is new.

    ``small`` arrays are written whole at creation.

    The attribute is written last: a creation that was cut off is begun again. Raises StoreError where
    something else lies at the place, MismatchError where a store was begun with other settings.
    """
    state = location.state()
    if state == "foreign":
        raise StoreError(f"{location}: exists and is not a store of this program; choose another --store")
    if state == "creating" or (state == "store" and overwrite):
        location.remove()
        state = "absent"
    if state == "store":
        location.sweep()
        group = location.open_group("r+")
        found = get_attribute(group) or {}
        fmt.check_attribute(found, attribute["kind"], str(location))
        fmt.check_same(found, attribute, str(location))
        return group, False
    group = zarr.create_group(location.target, overwrite=False, attributes={ATTRIBUTE: {"creating": True}})
    for spec in arrays:
        create_array(group, spec)
    keys = [f"{spec.name}/zarr.json" for spec in arrays]
    for name, values in small.items():
        names = ("layer", "channel")[-values.ndim :]
        create_array(group, fmt.ArraySpec(name, values.shape, str(values.dtype), values.shape, None, names))
        array = open_for_writing(group, name)
        array[...] = values
        keys += [f"{name}/zarr.json", chunk_key(array, [0] * values.ndim)]
    _sync_all(location, keys)
    group.attrs.put({ATTRIBUTE: attribute})
    _sync_all(location, ["zarr.json"])
    return group, True


def _sync_all(location: Location, keys: Sequence[str]) -> None:
    for key in keys:
        sync_file(location, key)
    sync_folders(location, keys)


def create_array(group: zarr.Group, spec: fmt.ArraySpec) -> None:
    """One array of the format: zstd, a crc32c on every chunk, zeros written like any other value."""
    group.create_array(
        spec.name,
        shape=spec.shape,
        dtype=spec.dtype,
        chunks=spec.chunks,
        shards=spec.shards,
        compressors=[ZstdCodec(level=ZSTD_LEVEL), Crc32cCodec()],
        fill_value=False if spec.dtype == "bool" else 0,
        dimension_names=spec.dimension_names,
        config={"write_empty_chunks": True},
    )


def _as_json(attribute: dict[str, Any]) -> dict[str, Any]:
    """The attribute as it reads back from disk, so that a rerun compares like with like."""
    value: dict[str, Any] = json.loads(json.dumps(attribute, allow_nan=False))
    return value


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    array = get_array(group, name)
    if array is None:
        raise StoreError(
            f"{group.store}: array {name!r} is missing; the store is not whole, use --overwrite to start anew"
        )
    return array


def open_for_writing(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """The array, writing zeros too: that setting is not stored on disk and opening forgets it."""
    array = _array(group, name)
    return array.with_config({"write_empty_chunks": True})


class _ShardWriter:
    """Writes aligned regions of a group's arrays, and remembers which folders to force to disk before a
    marker.
    """

    def __init__(self, location: Location, group: zarr.Group, specs: Sequence[fmt.ArraySpec]) -> None:
        self.location = location
        self.specs = {spec.name: spec for spec in specs}
        self.arrays = {spec.name: open_for_writing(group, spec.name) for spec in specs}
        self._keys: list[str] = []

    def clear(self, name: str, first: int) -> None:
        """Delete what an unfinished attempt left at ``first``, the leading coordinate of its shards: zarr
        would merge into a damaged shard at the array's end, not replace it."""
        array = self.arrays[name]
        if array.ndim == 1:
            sync(array.store.delete(chunk_key(array, [first])))
        else:
            sync(array.store.delete_dir(f"{array.path}/c/{first}"))

    def write(self, name: str, values: np.ndarray, start: tuple[int, ...]) -> None:
        """Write ``values`` at ``start`` and sync the file. Raises StoreError when the region is not aligned
        to shards.
        """
        spec, array = self.specs[name], self.arrays[name]
        region = tuple((first, first + length) for first, length in zip(start, values.shape, strict=True))
        fmt.check_aligned(spec, region)
        array[tuple(slice(a, b) for a, b in region)] = values
        unit = spec.shards or spec.chunks
        for shard in fmt.units(region, unit):
            key = chunk_key(array, shard)
            sync_file(self.location, key)
            self._keys.append(key)

    def commit(self, start: int, count: int) -> None:
        """Mark images as whole: after every folder that their files are named in is on the disk."""
        sync_folders(self.location, self._keys)
        self._keys.clear()
        self.write("committed", np.ones(count, dtype=np.uint8), (start,))
        sync_folders(self.location, self._keys)
        self._keys.clear()


class FeatureWriter:
    """A feature store being filled: hold it to know what is pending and to write images. Made by
    ``fstore.create``.
    """

    def __init__(
        self,
        location: Location,
        group: zarr.Group,
        meta: fmt.FeatureMeta,
        num_images: int,
        latent_shape: Sequence[int],
    ):
        self.location = location
        self.meta = meta
        self.num_images = num_images
        specs = fmt.feature_arrays(meta, num_images, latent_shape)
        self._shards = _ShardWriter(location, group, [*specs, fmt.committed_array("features", num_images)])
        self._names = [spec.name for spec in specs]
        self._group = group

    def pending(self) -> list[int]:
        """Images that are not committed yet, ascending."""
        return [int(i) for i in np.flatnonzero(~read_markers(self._group))]

    def write_image(
        self, image: int, maps: list[Tensor], picture: np.ndarray, mask: np.ndarray, latent: np.ndarray
    ) -> None:
        """Write one image whole, then commit it.

        Args:
            image: its index in the store.
            maps: feature maps, one [c, h, w] float32 a layer, native resolution; the list is emptied to free
                memory early.
            picture: (H, W, 3) uint8, rows after the crop.
            mask: (H, W) integer.
            latent: (D,) or (L, D) float32.

        Raises:
            StoreError: a shape does not fit the store. OverflowError16: a feature does not fit float16.
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
    group, _ = create_group(location, _as_json(meta.to_attribute()), specs, overwrite, small)
    shape = _array(group, "latents").shape
    if shape != (num_images, *latent_shape):
        raise MismatchError(
            f"{location}: holds latents of shape {shape}, this run has {(num_images, *latent_shape)}; "
            "use the same latents, another store, or --overwrite to start anew"
        )
    return FeatureWriter(location, group, meta, num_images, latent_shape)


class DatasetWriter:
    """A dataset being filled, a task of 64 images at a time. Made by ``fstore.create_dataset``."""

    def __init__(self, location: Location, group: zarr.Group, meta: fmt.DatasetMeta, num_images: int):
        self.location = location
        self.meta = meta
        self.num_images = num_images
        specs = [*fmt.dataset_arrays(meta, num_images), fmt.committed_array("dataset", num_images)]
        self._shards = _ShardWriter(location, group, specs)
        self._group = group

    def pending_tasks(self) -> list[int]:
        """Tasks with an image that is not committed, ascending; task t holds images 64 t to 64 t + 63."""
        return sorted({int(i) // fmt.TASK_IMAGES for i in np.flatnonzero(~read_markers(self._group))})

    def task_images(self, task: int) -> range:
        """Image indices of a task; the last one may be short."""
        first = task * fmt.TASK_IMAGES
        return range(first, min(first + fmt.TASK_IMAGES, self.num_images))

    def write_task(self, task: int, parts: dict[str, np.ndarray]) -> None:
        """Write a task's arrays whole, then commit its images.

        Args:
            task: its index.
            parts: for n images: images (n, H, W, 3) uint8, labels (n, H, W) integer, divergence (n, H, W),
                latents (n, D) float32, uncertainty (n,) float32.

        Raises:
            StoreError: a part is missing or its shape does not fit.
        """
        images = self.task_images(task)
        # A task that an earlier, shorter run committed in part is whole on disk, and readers may have it
        # open: keep it.
        is_fresh = not read_markers(self._group)[images.start : images.stop].any()
        for name, spec in self._shards.specs.items():
            if name == "committed":
                continue
            if is_fresh:
                self._shards.clear(name, task)
            expected = (len(images), *spec.shape[1:])
            found = parts[name].shape if name in parts else None
            if found != expected:
                raise StoreError(f"task {task}: array {name!r} has shape {found}, expected {expected}")
            start = (images.start, *[0] * (len(expected) - 1))
            self._shards.write(name, parts[name].astype(spec.dtype, copy=False), start)
        self._shards.commit(images.start, len(images))


def open_dataset(
    path: str | os.PathLike[str], meta: fmt.DatasetMeta, num_images: int, overwrite: bool
) -> DatasetWriter:
    """See ``fstore.create_dataset``."""
    location = Location.parse(path)
    specs = [
        *fmt.dataset_arrays(meta, num_images),
        fmt.kept_array(num_images),
        fmt.committed_array("dataset", num_images),
    ]
    group, is_new = create_group(location, _as_json(meta.to_attribute()), specs, overwrite, {})
    if not is_new:
        found = _array(group, "committed").shape[0]
        if found > num_images:
            raise StoreError(
                f"{location}: holds {found} images, this run asks for {num_images}; ask for {found} or more, "
                "or use --overwrite"
            )
        if any(_array(group, spec.name).shape[0] < num_images for spec in specs):
            grow(group, location, num_images)
    return DatasetWriter(location, group, meta, num_images)


def write_kept(location: Location, kept: np.ndarray, keep: str, threshold: float) -> None:
    """Replace the filter of a complete dataset: ``kept`` (N,) bool whole, then ``keep`` and ``threshold`` in
    the attribute.
    """
    group = location.open_group("r+")
    array = open_for_writing(group, "kept")
    if array.shape != kept.shape:
        raise StoreError(f"{location}: kept has shape {kept.shape}, expected {array.shape}")
    array[:] = kept
    keys = [chunk_key(array, [i]) for i in range(-(-len(kept) // fmt.KEPT_CHUNK))]
    _set_filter(group, keep, threshold)
    _sync_all(location, [*keys, "zarr.json"])


def _set_filter(group: zarr.Group, keep: str | None, threshold: float | None) -> None:
    attribute = get_attribute(group) or {}
    attribute.update(keep=keep, threshold=threshold)
    group.attrs.put({ATTRIBUTE: attribute})


def grow(group: zarr.Group, location: Location, num_images: int) -> None:
    """Lengthen every array of a dataset to ``num_images``; what it held stays. The filter is unset until the
    end.
    """
    _set_filter(group, None, None)
    # `committed` last: were it longer than the others, a reader would ask them for images that they do not
    # have.
    for name in sorted(group.array_keys(), key=lambda name: name == "committed"):
        array = group[name]
        assert isinstance(array, zarr.Array)
        if array.shape[0] < num_images:
            array.resize((num_images, *array.shape[1:]))
    _sync_all(location, ["zarr.json", *(f"{name}/zarr.json" for name in group.array_keys())])
