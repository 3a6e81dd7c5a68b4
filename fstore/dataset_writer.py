"""Writing a dataset: filled a task of 64 images at a time, lengthened by a larger number, filtered at the
end.

A task's arrays are written, forced to disk, and only then marked. It knows arrays, not what renders or
labels.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import zarr

from fstore import format as fmt
from fstore.chunks import read_markers
from fstore.creation import OpenGroup, check_place, create_group, open_for_writing, require_array, sync_all
from fstore.errors import StoreError
from fstore.location import ATTRIBUTE, Location, chunk_key, get_attribute
from fstore.lock import FolderLock
from fstore.shards import ShardWriter


class DatasetWriter:
    """A dataset being filled, a task of 64 images at a time. Made by ``fstore.create_dataset``."""

    def __init__(self, location: Location, opened: OpenGroup, meta: fmt.DatasetMeta, num_images: int):
        self.location = location
        self.meta = meta
        self.num_images = num_images
        specs = [*fmt.dataset_arrays(meta, num_images), fmt.committed_array("dataset", num_images)]
        self._shards = ShardWriter(location, opened.group, specs)
        self._opened = opened
        self._written: dict[tuple[int, str], set[int]] = {}
        """Images that ``write_part`` has written of a task's array; until the task is committed."""

    def close(self) -> None:
        """Let other processes write. The end of the process, or of the object, does the same."""
        self._opened.close()

    def pending_tasks(self) -> list[int]:
        """Tasks with an image that is not committed, ascending; task t holds images 64 t to 64 t + 63."""
        return sorted({int(i) // fmt.TASK_IMAGES for i in np.flatnonzero(~read_markers(self._opened.group))})

    def task_images(self, task: int) -> range:
        """Image indices of a task; the last one may be short."""
        first = task * fmt.TASK_IMAGES
        return range(first, min(first + fmt.TASK_IMAGES, self.num_images))

    def write_part(self, task: int, name: str, first: int, values: np.ndarray) -> None:
        """Write some images of one array of a task before the rest, so that nobody holds a task's heat maps.

        Only ``write_task`` marks images as whole: what is written here counts for nothing before.

        Args:
            task: its index.
            name: of the array.
            first: the first image, in the dataset, at the beginning of a file of the array.
            values: as ``write_task`` has them; whole files, but for the dataset's last images.

        Raises:
            StoreError: the shape does not fit, the images are not the task's, or they cut a file.
        """
        spec, images = self._shards.specs[name], self.task_images(task)
        if values.shape[1:] != spec.shape[1:]:
            expected = (len(values), *spec.shape[1:])
            raise StoreError(f"task {task}: array {name!r} has shape {values.shape}, expected {expected}")
        stop = first + len(values)
        if not images.start <= first < stop <= images.stop:
            raise StoreError(
                f"task {task}: array {name!r} has images {first} to {stop - 1}, expected some of "
                f"{images.start} to {images.stop - 1}"
            )
        fmt.check_aligned(spec, ((first, stop), *((0, size) for size in spec.shape[1:])))
        side = (spec.shards or spec.chunks)[0]  # images of a file: those of a task, or fewer
        for start in range(first, stop, side):
            # A file with images that an earlier, shorter run committed is whole on disk, and readers may have
            # it open: it is replaced, not deleted.
            if not read_markers(self._opened.group, start, min(start + side, images.stop)).any():
                self._shards.clear(name, start // side)
            part = values[start - first : start - first + side].astype(spec.dtype, copy=False)
            self._shards.write(name, part, (start, *[0] * (part.ndim - 1)))
        self._written.setdefault((task, name), set()).update(range(first, stop))

    def write_task(self, task: int, parts: dict[str, np.ndarray]) -> None:
        """Write a task's arrays whole, or those that ``write_part`` has not written, then commit its images.

        Args:
            task: its index.
            parts: for n images: images (n, H, W, 3) uint8, labels (n, H, W) integer, divergence (n, H, W),
                latents (n, D) float32, uncertainty (n,) float32; where there are keypoints, heatmaps
                (n, H, W, K) and keypoints (n, K, 3) in place of labels.

        Raises:
            StoreError: a part is missing or its shape does not fit.
        """
        images = self.task_images(task)
        for name, spec in self._shards.specs.items():
            written = name not in parts and self._written.get((task, name), set()).issuperset(images)
            if written or name == "committed":
                continue
            expected = (len(images), *spec.shape[1:])
            found = parts[name].shape if name in parts else None
            if found != expected:
                raise StoreError(f"task {task}: array {name!r} has shape {found}, expected {expected}")
            self.write_part(task, name, images.start, parts[name])
        self._shards.commit(images.start, len(images))
        self._written = {key: value for key, value in self._written.items() if key[0] != task}


def open_dataset(
    path: str | os.PathLike[str], meta: fmt.DatasetMeta, num_images: int, overwrite: bool
) -> DatasetWriter:
    """See ``fstore.create_dataset``."""
    location, specs = Location.parse(path), _specs(meta, num_images)
    opened = create_group(location, meta.to_attribute(), specs, overwrite, {})
    try:
        _check_length(location, opened.group, specs, num_images)
    except StoreError:
        opened.close()
        raise
    if any(require_array(opened.group, spec.name).shape[0] < num_images for spec in specs):
        grow(opened.group, location, num_images)
    return DatasetWriter(location, opened, meta, num_images)


def check_dataset(
    path: str | os.PathLike[str], meta: fmt.DatasetMeta, num_images: int, overwrite: bool
) -> None:
    """See ``fstore.check_create_dataset``."""
    location = Location.parse(path)
    group = check_place(location, meta.to_attribute(), overwrite)
    if group is not None:
        _check_length(location, group, _specs(meta, num_images), num_images)


def _specs(meta: fmt.DatasetMeta, num_images: int) -> list[fmt.ArraySpec]:
    committed = fmt.committed_array("dataset", num_images)
    return [*fmt.dataset_arrays(meta, num_images), fmt.kept_array(num_images), committed]


def _check_length(
    location: Location, group: zarr.Group, specs: Sequence[fmt.ArraySpec], num_images: int
) -> None:
    # The longest: a run with a larger number that was killed while lengthening leaves some arrays short.
    found = max(require_array(group, spec.name).shape[0] for spec in specs)
    if found > num_images:
        raise StoreError(
            f"{location}: holds {found} images, this run asks for {num_images}; ask for {found} or more, "
            "or use --overwrite"
        )


def write_kept(location: Location, kept: np.ndarray, keep: str, threshold: float) -> None:
    """Replace the filter of a complete dataset: ``kept`` (N,) bool whole, then ``keep`` and ``threshold`` in
    the attribute.
    """
    lock = None if location.folder is None else FolderLock(location.folder)
    try:
        _write_kept(location, kept, keep, threshold)
    finally:
        if lock is not None:
            lock.release()


def _write_kept(location: Location, kept: np.ndarray, keep: str, threshold: float) -> None:
    group = location.open_group("r+")
    array = open_for_writing(group, "kept")
    if array.shape != kept.shape:
        raise StoreError(
            f"{location}: kept has {array.shape[0]} places and the dataset {len(kept)} images; "
            "a run with a larger --num was cut off, run it again"
        )
    _set_filter(group, None, None)  # so that a kill between the two never shows the old share with a new mask
    array[:] = kept
    sync_all(location, [chunk_key(array, [i]) for i in range(-(-len(kept) // fmt.KEPT_CHUNK))])
    _set_filter(group, keep, threshold)
    sync_all(location, ["zarr.json"])


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
        array = require_array(group, name)
        if array.shape[0] < num_images:
            array.resize((num_images, *array.shape[1:]))
    sync_all(location, ["zarr.json", *(f"{name}/zarr.json" for name in group.array_keys())])
