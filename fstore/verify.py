"""Checking a store against its specification: every chunk of every committed image is read, and the parts
agree.

It knows ``docs/format.md`` and nothing of what the arrays are for. It shares no code with the reader but the
decoding of chunks, so that a mistake there shows here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import zarr

from fstore import format as fmt
from fstore.chunks import CheckedArray, read_markers
from fstore.errors import StoreError
from fstore.location import Location, get_array, get_attribute


@dataclass(frozen=True)
class Report:
    """What a check found: ``problems`` has one line each; ``checked`` images of ``num_images`` were committed
    and read.
    """

    problems: tuple[str, ...]
    checked: int
    num_images: int
    bytes_read: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong with what is committed."""
        return not self.problems


def verify(location: Location, advance: Callable[[int], None] = lambda count: None) -> Report:
    """Read a store whole and check it; ``advance(n)`` is called after every n images.

    Raises StoreError where there is no store of this version to check; what is wrong inside one goes into the
    report.
    """
    group = location.open_group()
    attribute = get_attribute(group)
    if attribute is None or attribute.get("creating"):
        raise StoreError(f"{location}: has no complete attribute 'fstore'; expected a store written by dgan")
    fmt.check_attribute(attribute, None, str(location))
    is_dataset = attribute.get("kind") == "dataset"
    meta: fmt.Meta
    if is_dataset:
        meta = fmt.DatasetMeta.from_attribute(attribute, str(location))
    else:
        meta = fmt.FeatureMeta.from_attribute(attribute, str(location))
    markers = get_array(group, "committed")
    if markers is None:
        raise StoreError(f"{location}: array 'committed' is missing; write the store again with --overwrite")
    specs = _specs(meta, group, markers.shape[0], location)
    checked_specs = [*specs, fmt.committed_array(meta.kind, markers.shape[0])]
    if is_dataset:
        checked_specs.append(fmt.kept_array(markers.shape[0]))
    problems = [line for spec in checked_specs for line in _array_problems(group, spec, location)]
    if problems:
        return Report(tuple(problems), 0, markers.shape[0], 0)
    arrays = {
        spec.name: CheckedArray(array, str(location))
        for spec in specs
        if (array := get_array(group, spec.name))
    }
    committed = [int(i) for i in np.flatnonzero(read_markers(group))]
    counter = _Counter()
    for image in committed:
        problems += _image_problems(meta, arrays, image, counter, str(location))
        advance(1)
    if isinstance(meta, fmt.DatasetMeta) and meta.keep is not None and not problems:
        problems += _filter_problems(group, meta, committed, str(location))
    average = get_array(group, "average_latent")
    if average is not None:
        problems += _array_problems(group, fmt.average_latent_array(average.shape), location)
        problems += _small_array_problems(average, str(location))
    return Report(tuple(problems), len(committed), markers.shape[0], counter.bytes_read)


@dataclass
class _Counter:
    bytes_read: int = 0


def _specs(meta: fmt.Meta, group: zarr.Group, num_images: int, location: Location) -> list[fmt.ArraySpec]:
    if isinstance(meta, fmt.DatasetMeta):
        return fmt.dataset_arrays(meta, num_images)
    latents = get_array(group, "latents")
    if latents is None:
        raise StoreError(f"{location}: array 'latents' is missing; write the store again with --overwrite")
    return fmt.feature_arrays(meta, num_images, latents.shape[1:])


def _array_problems(group: zarr.Group, spec: fmt.ArraySpec, location: Location) -> Iterator[str]:
    array = get_array(group, spec.name)
    if array is None:
        yield f"{location}: array {spec.name!r} is missing"
        return
    found: dict[str, Any] = {
        "shape": array.shape,
        "dtype": str(array.dtype),
        "chunks": array.chunks,
        "shards": array.shards,
    }
    expected: dict[str, Any] = {
        "shape": spec.shape,
        "dtype": spec.dtype,
        "chunks": spec.chunks,
        "shards": spec.shards,
    }
    for key, value in expected.items():
        if found[key] != value:
            hint = (
                "; a run with a larger --num was cut off, run it again"
                if _is_longer(key, found, expected)
                else ""
            )
            yield f"{location}: array {spec.name!r} has {key} {found[key]}, expected {value}{hint}"
    names = getattr(array.metadata, "dimension_names", None)
    if names != spec.dimension_names:
        yield f"{location}: array {spec.name!r} has dimension names {names}, expected {spec.dimension_names}"


def _is_longer(key: str, found: dict[str, Any], expected: dict[str, Any]) -> bool:
    return key == "shape" and bool(found[key]) and found[key][0] > expected[key][0]


def _image_problems(
    meta: fmt.Meta, arrays: dict[str, CheckedArray], image: int, counter: _Counter, where: str
) -> Iterator[str]:
    """Problems of one committed image: unreadable chunks, values that the format excludes, an index that
    lies.
    """
    small: dict[str, np.ndarray] = {}
    for name, checked in arrays.items():
        for region in _pieces(checked.array, image):
            try:
                values = checked.read(region)
            except StoreError as error:
                yield str(error)
                break
            counter.bytes_read += values.nbytes
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                yield f"{where}: array {name!r}, image {image}: has a value that is not finite"
                break
            if name in ("masks", "labels", "class_counts"):
                small[name] = values[0]
            if name == "keypoints":
                yield from _keypoint_problems(meta, values[0], image, where)
    for name in ("masks", "labels"):
        if name in small:
            yield from _label_problems(meta, small[name], name, image, where)
    if "masks" in small and "class_counts" in small:
        counts = fmt.class_counts(small["masks"], len(meta.classes))
        if not np.array_equal(counts, small["class_counts"]):
            yield f"{where}: array 'class_counts', image {image}: differs from the counts of its mask"


def _label_problems(meta: fmt.Meta, labels: np.ndarray, name: str, image: int, where: str) -> Iterator[str]:
    bad = labels >= len(meta.classes)
    if meta.ignore is not None:
        bad &= labels != meta.ignore
    if bad.any():
        largest = len(meta.classes) - 1
        yield f"{where}: array {name!r}, image {image}: has label {labels[bad][0]}, expected 0 to {largest}"


def _keypoint_problems(meta: fmt.Meta, points: np.ndarray, image: int, where: str) -> Iterator[str]:
    third = points[:, 2]  # [K]
    if isinstance(meta, fmt.FeatureMeta) and not np.isin(third, (0, 1)).all():
        yield f"{where}: array 'keypoints', image {image}: has {third.max()} as third value, expected 0 or 1"


def _pieces(array: zarr.Array[Any], image: int) -> Iterator[fmt.Region]:
    """One image of an array in pieces of one shard, so that memory stays at one shard."""
    if array.ndim < 2:
        yield ((image, image + 1),)
        return
    rows = (array.shards or array.chunks)[1]
    rest = tuple((0, size) for size in array.shape[2:])
    for start in range(0, array.shape[1], rows):
        yield ((image, image + 1), (start, min(start + rows, array.shape[1])), *rest)


def _filter_problems(
    group: zarr.Group, meta: fmt.DatasetMeta, committed: list[int], where: str
) -> Iterator[str]:
    found = [get_array(group, name) for name in ("kept", "uncertainty")]
    if None in found or meta.keep is None:
        yield f"{where}: array 'kept' or 'uncertainty' is missing"
        return
    try:
        kept, uncertainty = (_whole(array, where) for array in found if array is not None)
    except StoreError as error:
        yield str(error)
        return
    wanted = ceil(Fraction(Decimal(meta.keep)) * len(kept))
    if int(kept.sum()) != wanted:
        count = f"{int(kept.sum())} of {len(kept)} images"
        yield f"{where}: array 'kept' keeps {count}, expected {wanted} (keep {meta.keep})"
    if len(committed) == len(kept) and kept.any():
        threshold = float(uncertainty[kept].max())
        if meta.threshold is None or not np.isclose(threshold, meta.threshold):
            expected = f"expected {threshold}, the largest kept uncertainty"
            yield f"{where}: attribute 'threshold' is {meta.threshold}, {expected}"
        if not kept.all() and float(uncertainty[~kept].min()) < threshold:
            yield f"{where}: array 'kept' drops an image that is less uncertain than one it keeps"


def _small_array_problems(array: zarr.Array[Any], where: str) -> Iterator[str]:
    """Problems of an array that belongs to no image."""
    try:
        if not np.isfinite(_whole(array, where)).all():
            yield f"{where}: array {array.path!r}: has a value that is not finite"
    except StoreError as error:
        yield str(error)


def _whole(array: zarr.Array[Any], where: str) -> np.ndarray:
    return CheckedArray(array, where).read(tuple((0, size) for size in array.shape))
