"""Writes a dataset, a task of 64 images at a time, and lengthens it where a run asks for more images.

The arrays of a task are written, forced to disk, and only then marked. This module knows arrays. It does not
know what renders or labels.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import zarr

from fstore import format as fmt
from fstore.allowed_values import as_stored, check_values, wrong_type
from fstore.creation import OpenGroup, check_place, create_group, delete_array, set_length
from fstore.durable import sync_all
from fstore.errors import StoreError
from fstore.inventory import require_array
from fstore.location import Location, get_attribute, set_attribute
from fstore.shards import ShardWriter


class DatasetWriter:
    """A dataset that is being filled, a task of 64 images at a time. ``fstore.create_dataset`` makes it.

    It keeps other writers out until ``close`` is called.
    """

    def __init__(
        self,
        location: Location,
        opened: OpenGroup,
        meta: fmt.DatasetMeta,
        num_images: int,
        shards: type[ShardWriter] = ShardWriter,
    ):
        self.location = location
        self.meta = meta
        self.num_images = num_images
        specs = [*fmt.dataset_arrays(meta, num_images), fmt.committed_array("dataset", num_images)]
        self._shards = shards(location, opened.group, specs)
        self._opened = opened
        # Until a task is committed: of each of its arrays the images written, each with its file's key.
        self._written: dict[int, dict[str, dict[int, str]]] = {}

    @property
    def id(self) -> str:
        """The store's own id, by which a process tells that it has joined the same one."""
        return str((get_attribute(self._opened.group) or {})["created"]["id"])

    def close(self) -> None:
        """Let other processes write. The same happens when the process or the object ends."""
        self._opened.close()

    def pending_tasks(self) -> list[int]:
        """Tasks with an image that is not committed, ascending; task t holds images 64 t to 64 t + 63."""
        return sorted({int(i) // fmt.TASK_IMAGES for i in np.flatnonzero(~self._shards.markers())})

    def task_images(self, task: int) -> range:
        """Image indices of a task; the last one may be short."""
        first = task * fmt.TASK_IMAGES
        return range(first, min(first + fmt.TASK_IMAGES, self.num_images))

    def begin_task(self, task: int) -> None:
        """Delete what an unfinished attempt has left of a task, which a writer of ``fstore.join`` will write.

        After that one's ``write_task``, ``commit_task`` is called here.
        """
        images = self.task_images(task)
        for name, spec in self._shards.specs.items():
            side = (spec.shards or spec.chunks)[0]
            for start in range(images.start, images.stop, side) if name != "committed" else ():
                self._clear_unfinished(name, start, min(start + side, images.stop))

    def _clear_unfinished(self, name: str, start: int, stop: int) -> None:
        """Delete the file of images [start, stop) of an array.

        A file with images that an earlier, shorter run committed is whole on disk, and readers may have it
        open: it is replaced, not deleted.
        """
        spec = self._shards.specs[name]
        if not self._shards.markers(start, stop).any():
            self._shards.clear(name, start // (spec.shards or spec.chunks)[0])

    def commit_task(self, task: int) -> None:
        """Mark a task whose files are forced to the disk, as after ``write_task`` of a joined writer."""
        images = self.task_images(task)
        self._shards.commit(images.start, len(images), [])

    def write_part(self, task: int, name: str, first: int, values: np.ndarray) -> None:
        """Write some images of one array of a task ahead of the others, to free the memory that they take.

        This does not commit the images: ``write_task`` does.

        Args:
            task: its index.
            name: of the array.
            first: the first image, in the dataset, at the beginning of a file of the array.
            values: as for ``write_task``. They fill whole files; only the dataset's last file may be short.

        Raises:
            StoreError: the shape does not fit, the images are not the task's, they cut a file, or the format
            excludes a value, as a label that is no class, a picture of floats, a latent that is not finite.
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
        for place in range(len(values)):  # before a file is touched
            check_values(self.meta, spec, values[place : place + 1], first + place)
        written = self._written.setdefault(task, {}).setdefault(name, {})
        side = (spec.shards or spec.chunks)[0]  # images of a file: those of a task, or fewer
        for start in range(first, stop, side):
            images_of_file = range(start, min(start + side, stop))
            for image in images_of_file:
                written.pop(image, None)  # of an attempt before this one
            self._clear_unfinished(name, start, min(start + side, images.stop))
            part = _with_nan(spec, values[start - first : start - first + side])
            (key,) = self._shards.write(name, part, (start, *[0] * (part.ndim - 1)))
            written.update(dict.fromkeys(images_of_file, key))

    def write_task(self, task: int, parts: dict[str, np.ndarray]) -> None:
        """Write the arrays of a task that ``write_part`` has not written, then commit its images.

        Args:
            task: its index.
            parts: for n images: images (n, H, W, 3) uint8, labels (n, H, W) integer, divergence (n, H, W),
                latents (n, D) float32, uncertainty (n,) float32; member_votes (n, K, K) where the writer's
                ``meta`` has them; where there are keypoints, heatmaps (n, H, W, K) and keypoints (n, K, 3) in
                place of labels.

        Raises:
            StoreError: a part is missing, its shape does not fit, or it has values that the format excludes.
        """
        images = self.task_images(task)
        for name, spec in self._shards.specs.items():
            written = self._written.get(task, {}).get(name, {})
            if name == "committed" or (name not in parts and written.keys() >= set(images)):
                continue
            expected = (len(images), *spec.shape[1:])
            found = parts[name].shape if name in parts else None
            if found != expected:
                raise StoreError(f"task {task}: array {name!r} has shape {found}, expected {expected}")
        if "uncertainty" in parts:
            self._check_uncertainty(parts, images.start)
        for name in self._shards.specs:
            if name in parts:
                self.write_part(task, name, images.start, parts[name])
        files = {key for written in self._written[task].values() for key in written.values()}
        self._shards.commit(images.start, len(images), files)
        del self._written[task]

    def _check_uncertainty(self, parts: Mapping[str, np.ndarray], first: int) -> None:
        """Refuse an image whose score is finite and whose other values are not: the filter would keep it."""
        finite = {}  # by array, [n]
        for name in (name for name in fmt.MAY_BE_NAN if name in parts):
            spec = self._shards.specs[name]
            words = wrong_type(spec, parts[name])
            if words is not None:
                raise StoreError(f"array {name!r}, image {first}: {words}")
            finite[name] = np.array([np.isfinite(as_stored(spec, image)).all() for image in parts[name]])
        for name, is_finite in finite.items():
            wrong = np.flatnonzero(~is_finite & finite["uncertainty"])
            if len(wrong):
                image = first + int(wrong[0])
                raise StoreError(
                    f"array 'uncertainty', image {image}: is finite, and its {name} not; expected NaN"
                )


def open_dataset(
    path: str | os.PathLike[str], meta: fmt.DatasetMeta, num_images: int, overwrite: bool
) -> DatasetWriter:
    """Does what ``fstore.create_dataset`` says, with the same arguments."""
    location = Location.parse(path)
    meta = _as_begun(location, meta, overwrite)
    specs = _specs(meta, num_images)
    opened = create_group(location, meta.to_attribute(), specs, overwrite, [])
    try:
        _check_length(location, opened.group, specs, num_images)
        if any(require_array(opened.group, spec.name, location).shape[0] < num_images for spec in specs):
            grow(opened.group, location, specs)
    except BaseException:
        opened.close()
        raise
    return DatasetWriter(location, opened, meta, num_images)


def check_dataset(
    path: str | os.PathLike[str], meta: fmt.DatasetMeta, num_images: int, overwrite: bool
) -> None:
    """Does what ``fstore.check_create_dataset`` says, with the same arguments."""
    location = Location.parse(path)
    meta = _as_begun(location, meta, overwrite)
    group = check_place(location, meta.to_attribute(), overwrite)
    if group is not None:
        _check_length(location, group, _specs(meta, num_images), num_images)


def _as_begun(location: Location, meta: fmt.DatasetMeta, overwrite: bool) -> fmt.DatasetMeta:
    """``meta`` without the votes of the members where the store that is gone on with was begun without."""
    if not meta.member_votes or overwrite or location.state() != "store":
        return meta
    found = get_attribute(location.open_group()) or {}
    return meta if "member_votes" in found else replace(meta, member_votes=False)


def _specs(meta: fmt.DatasetMeta, num_images: int) -> list[fmt.ArraySpec]:
    committed = fmt.committed_array("dataset", num_images)
    return [*fmt.dataset_arrays(meta, num_images), fmt.kept_array(num_images), committed]


def _check_length(
    location: Location, group: zarr.Group, specs: Sequence[fmt.ArraySpec], num_images: int
) -> None:
    # The longest: a run with a larger number that was killed while lengthening leaves some arrays short.
    found = max(require_array(group, spec.name, location).shape[0] for spec in specs)
    if found > num_images:
        raise StoreError(
            f"{location}: holds {found} images, this run asks for {num_images}; ask for {found} or more, "
            "or use --overwrite"
        )


def grow(group: zarr.Group, location: Location, specs: Sequence[fmt.ArraySpec]) -> None:
    """Lengthen the arrays of a dataset to the lengths of ``specs``. Values stay, and the filter is unset."""
    set_filter(group, location, None, None)
    delete_array(group, location, fmt.FILTER_SCORE)
    set_length(group, location, [spec.name for spec in specs], specs[0].shape[0])


def set_filter(
    group: zarr.Group,
    location: Location,
    keep: str | None,
    threshold: float | None,
    rule: fmt.FilterRule | None = None,
) -> None:
    """Write ``keep``, ``threshold`` and the filter's rule into the attribute, and force that to the disk."""
    attribute = get_attribute(group) or {}
    version = fmt.dataset_version(attribute.get("score"), rule)
    attribute.update(version=version, keep=keep, threshold=threshold)
    attribute.pop("filter", None)
    if rule is not None:
        attribute["filter"] = rule.to_json()
    set_attribute(group, attribute, location)
    sync_all(location, ["zarr.json"])


def _with_nan(spec: fmt.ArraySpec, values: np.ndarray) -> np.ndarray:
    """A dataset's values as they are stored: NaN in place of infinite ones in the arrays that may hold it."""
    stored = as_stored(spec, values)
    if spec.name not in fmt.MAY_BE_NAN or not np.isinf(stored).any():
        return stored
    return np.where(np.isinf(stored), np.array(np.nan, stored.dtype), stored)
