"""Checks a store against its specification: reads every chunk of every committed image, and compares parts.

It knows ``docs/format.md``. It does not know what the arrays are for. It shares with the reader only the
reading of metadata and the decoding of chunks, so that it can find mistakes of the reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import zarr

from fstore import format as fmt
from fstore.allowed_values import not_finite, wrong_keypoint, wrong_label
from fstore.chunks import CheckedArray, read_marker_file, read_markers
from fstore.errors import StoreError
from fstore.inventory import Inventory, array_problems, find_array, is_lengthened, read_inventory
from fstore.location import Location
from fstore.markers import read_markers_beyond
from fstore.verify_filter import FilterCheck


@dataclass(frozen=True)
class Report:
    """What a check found: ``problems`` has one line each; ``checked`` images of ``num_images`` were committed
    and read.

    ``of_images``: by image, the first of its problems, and of its marker. ``of_filter``: those of the filter.
    ``of_markers``: those of markers of images that the store does not have. ``of_rest``: those of metadata,
    and of what belongs to no image. ``problems`` are all of them.
    """

    problems: tuple[str, ...]
    checked: int
    num_images: int
    bytes_read: int
    of_images: dict[int, str] = field(default_factory=dict)
    of_filter: tuple[str, ...] = ()
    of_markers: tuple[str, ...] = ()
    of_rest: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong with what is committed."""
        return not self.problems


def verify(location: Location, advance: Callable[[int], None] = lambda count: None) -> Report:
    """Read a store whole and check it; ``advance(n)`` is called after every n images.

    Raises StoreError where there is no store of this version to check, or its attribute is damaged; what is
    wrong inside one goes into the report.
    """
    inventory = read_inventory(location)
    problems = list(_metadata_problems(inventory))
    if problems:
        return Report(tuple(problems), 0, inventory.num_images, 0, of_rest=tuple(problems))
    check, of_images = _Check(inventory), dict[int, str]()
    for images, line in check.marker_problems():
        problems.append(line)
        of_images |= dict.fromkeys(images, line)
    of_filter = list(check.unfounded_filter())
    problems += of_filter
    for image in check.committed:
        found = list(check.image_problems(image))
        problems += found
        if found:
            of_images.setdefault(image, found[0])
        advance(1)
    if check.filter is not None and not problems:
        of_filter += check.filter.problems()
        problems += of_filter
    of_markers, of_rest = list(check.markers_beyond()), list(_average_problems(inventory))
    return Report(
        (*problems, *of_markers, *of_rest),
        len(check.committed),
        inventory.num_images,
        check.bytes_read,
        of_images,
        tuple(of_filter),
        tuple(of_markers),
        tuple(of_rest),
    )


def _metadata_problems(inventory: Inventory) -> Iterator[str]:
    """What is wrong with arrays before a chunk of them is read."""
    location, group = inventory.location, inventory.group
    specs = list(inventory.specs.values())
    for spec in specs:
        try:
            array = find_array(group, fmt.array_path(inventory.meta, spec.name), location)
            if array is None:
                yield f"{location}: array {spec.name!r} is missing"
            elif not _was_being_lengthened(inventory, array, spec):
                yield from array_problems(array, spec, location)
        except StoreError as error:
            yield str(error)
    try:
        array = inventory.average_latent() if inventory.meta.kind == "features" else None
        if array is not None:
            yield from array_problems(array, fmt.average_latent_array(array.shape), location)
        if any(spec.name.startswith("layers/") for spec in specs):
            find_array(group, "layers", location)  # no array: the group that the layers are in
    except StoreError as error:
        yield str(error)


def _was_being_lengthened(inventory: Inventory, array: zarr.Array, spec: fmt.ArraySpec) -> bool:
    """Whether a feature store's array is longer than ``committed`` because its lengthening was cut off.

    Then no image beyond is marked. Where one is, it is the length of ``committed`` that is damaged.
    """
    if inventory.meta.kind != "features" or not is_lengthened(array, spec):
        return False
    markers, location = inventory.array("committed"), inventory.location
    beyond = range(spec.shape[0], array.shape[0])
    return not any(read_marker_file(markers, location, image).any() for image in beyond)


@dataclass
class _Check:
    """The images of one store, read and checked one by one."""

    inventory: Inventory
    bytes_read: int = 0
    committed: list[int] = field(default_factory=list)
    arrays: dict[str, CheckedArray] = field(default_factory=dict)
    filter: FilterCheck | None = None

    def __post_init__(self) -> None:
        inventory, location = self.inventory, self.inventory.location
        markers = read_markers(inventory.array("committed"), location, 0, inventory.num_images)
        self.committed = [int(i) for i in np.flatnonzero(markers)]
        for name in inventory.specs:
            if name not in ("committed", "kept", fmt.FILTER_SCORE):
                self.arrays[name] = CheckedArray(inventory.array(name), location)
        if isinstance(inventory.meta, fmt.DatasetMeta) and inventory.meta.keep is not None:
            self.filter = FilterCheck(inventory, inventory.meta)

    @property
    def _where(self) -> str:
        return str(self.inventory.location)

    def marker_problems(self) -> Iterator[tuple[range, str]]:
        """Markers that are damaged, or neither 0 nor 1: whose images they are of, and a line."""
        array, num = self.inventory.array("committed"), self.inventory.num_images
        step = array.chunks[0]
        for chunk in range(-(-num // step)):
            images = range(chunk * step, min((chunk + 1) * step, num))
            try:
                values = read_marker_file(array, self.inventory.location, chunk)[: len(images)]
            except StoreError as error:
                yield images, str(error)
                continue
            for place in np.flatnonzero(values > 1):
                image = chunk * step + int(place)
                line = f"array 'committed', image {image}: is {values[place]}, expected 0 or 1"
                yield range(image, image + 1), f"{self._where}: {line}"

    def markers_beyond(self) -> Iterator[str]:
        """Markers of images that the store does not have, a line for each file."""
        array, num = self.inventory.array("committed"), self.inventory.num_images
        for chunk, images in read_markers_beyond(array, self.inventory.location, num).items():
            which = f"images {images[0]} to {images[-1]}" if len(images) > 1 else f"image {images[0]}"
            yield (
                f"{self._where}: array 'committed', chunk [{chunk}]: marks {which}, and the store has {num} "
                "images; `dgan repair` deletes such a marker"
            )

    def unfounded_filter(self) -> Iterator[str]:
        """A filter over images that are not committed."""
        meta, num = self.inventory.meta, self.inventory.num_images
        absent = num - len(self.committed)
        if isinstance(meta, fmt.DatasetMeta) and meta.keep is not None and absent:
            yield (
                f"{self._where}: attribute 'keep' is {meta.keep}, and {absent} of {num} images are not "
                "committed; expected null"
            )

    def image_problems(self, image: int) -> Iterator[str]:
        """Problems of one committed image.

        They are chunks that cannot be read, values that the format excludes, and an index of classes that
        differs from the mask.
        """
        meta = self.inventory.meta
        small: dict[str, np.ndarray] = {}
        nan: dict[str, bool] = {}
        for name, checked in self.arrays.items():
            for region in _pieces(checked.array, image):
                try:
                    values = checked.read(region)
                except StoreError as error:
                    yield str(error)
                    break
                self.bytes_read += values.nbytes
                if values.dtype.kind == "f":
                    may_be_nan = meta.kind == "dataset" and name in fmt.MAY_BE_NAN
                    words = not_finite(values, may_be_nan=may_be_nan)
                    if words is not None:
                        yield f"{self._where}: array {name!r}, image {image}: {words}"
                        break
                    nan[name] = nan.get(name, False) or bool(np.isnan(values).any())
                needed = ("masks", "labels", "class_counts", "member_votes")
                if name in needed or (name == "divergence" and self.filter):
                    small[name] = values[0]
                words = wrong_keypoint(meta, values) if name == "keypoints" else None
                if words is not None:
                    yield f"{self._where}: array {name!r}, image {image}: {words}"
        for name in (name for name in nan if nan[name] and not nan.get("uncertainty", True)):
            line = f"array 'uncertainty', image {image}: is finite, and its {name} not; expected NaN"
            yield f"{self._where}: {line}"
        for name in ("masks", "labels"):
            words = wrong_label(meta, small[name]) if name in small else None
            if words is not None:
                yield f"{self._where}: array {name!r}, image {image}: {words}"
        if self.filter is not None and "divergence" in small:
            self.filter.add(image, small["divergence"], small.get("labels"))
        if "masks" in small and "class_counts" in small:
            counts = fmt.class_counts(small["masks"], len(meta.classes))
            if not np.array_equal(counts, small["class_counts"]):
                line = f"array 'class_counts', image {image}: differs from the counts of its mask"
                yield f"{self._where}: {line}"
        if isinstance(meta, fmt.DatasetMeta) and "labels" in small and "member_votes" in small:
            yield from _vote_problems(meta, small["labels"], small["member_votes"], image, self._where)


def _vote_problems(
    meta: fmt.DatasetMeta, labels: np.ndarray, votes: np.ndarray, image: int, where: str
) -> Iterator[str]:
    """Every member has one vote at every pixel. Members that the record does not tell are counted."""
    given = votes.sum(axis=1, dtype=np.int64)  # [K]
    pixels = np.bincount(labels.ravel(), minlength=len(meta.classes))[: len(meta.classes)]  # [K]
    members = meta.interpreter.get("members")
    if isinstance(members, bool) or not isinstance(members, int):
        members = int(given.sum()) // max(labels.size, 1)
    for label in np.flatnonzero(given != members * pixels)[:1]:
        expected = f"expected {members * pixels[label]}: {members} at each of its {pixels[label]} pixels"
        line = f"label {label} has {given[label]} votes, {expected}"
        yield f"{where}: array 'member_votes', image {image}: {line}"


def _pieces(array: zarr.Array, image: int) -> Iterator[fmt.Region]:
    """One image of an array in pieces of one shard, so that memory stays at one shard."""
    if array.ndim < 2:
        yield ((image, image + 1),)
        return
    rows = (array.shards or array.chunks)[1]
    rest = tuple((0, size) for size in array.shape[2:])
    for start in range(0, array.shape[1], rows):
        yield ((image, image + 1), (start, min(start + rows, array.shape[1])), *rest)


def _average_problems(inventory: Inventory) -> Iterator[str]:
    array = inventory.average_latent() if inventory.meta.kind == "features" else None
    if array is None:
        return
    try:
        words = not_finite(_whole(array, inventory.location))
        if words is not None:
            yield f"{inventory.location}: array 'average_latent': {words}"
    except StoreError as error:
        yield str(error)


def _whole(array: zarr.Array, location: Location) -> np.ndarray:
    return CheckedArray(array, location).read(tuple((0, size) for size in array.shape))
