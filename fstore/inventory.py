"""Reads what a store holds: its meta, and its arrays, each of which is compared with the format before use.

This is the one reader of metadata, for opening, resuming, filtering and verifying a store. Every failure is a
StoreError that names the store, the array and what is wrong. It reads no chunk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import zarr

from fstore import format as fmt
from fstore.errors import StoreError
from fstore.location import RESTORE, Location, get_attribute
from fstore.values import integer, record, short, text

LARGEST_COUNT = 2**31  # of images: beyond it a length is taken for damage
_CHUNK_CODECS = ("bytes", "zstd", "crc32c")
_INDEX_CODECS = ("bytes", "crc32c")


@dataclass(frozen=True)
class Inventory:
    """A store's group, its attribute as ``meta``, and the arrays that it must have, by their names.

    ``num_images`` is N, committed or not. ``specs`` has every array but ``average_latent``, which may be
    absent.
    """

    location: Location
    group: zarr.Group
    meta: fmt.Meta
    num_images: int
    specs: dict[str, fmt.ArraySpec]
    _arrays: dict[str, zarr.Array[Any]] = field(default_factory=dict)

    def array(self, name: str) -> zarr.Array[Any]:
        """The array as the format has it. It may be longer than N, while a store is lengthened.

        Raises StoreError where it is absent, damaged or another than the format's.
        """
        if name not in self._arrays:
            array = require_array(self.group, fmt.array_path(self.meta, name), self.location)
            check_array(array, self.specs[name], self.location, longer=True)
            self._arrays[name] = array
        return self._arrays[name]

    def average_latent(self) -> zarr.Array[Any] | None:
        """The array ``average_latent``, or None where there is none. Raises StoreError as ``array`` does."""
        array = find_array(self.group, "average_latent", self.location)
        if array is not None:
            check_shape(array, (1, 2), self.location)
            check_array(array, fmt.average_latent_array(array.shape), self.location)
        return array


def read_inventory(location: Location) -> Inventory:
    """Read a store's attribute and what its arrays must be. Raises StoreError for what is no whole store."""
    group = location.open_group()
    attribute = get_attribute(group)
    if attribute is None:
        raise StoreError(
            f"{location}: is a Zarr group without attribute 'fstore'; expected a store written by dgan"
        )
    if attribute.get("creating"):
        raise StoreError(f"{location}: its creation was cut off; run the command that writes it again")
    meta = read_meta(attribute, location)
    markers = require_array(group, "committed", location)
    check_shape(markers, (1,), location)
    num_images = markers.shape[0]
    inventory = Inventory(location, group, meta, num_images, _specs(meta, num_images, group, location))
    for name in ("committed", "images"):  # of two lengths that disagree, one is damaged
        inventory.array(name)
    return inventory


def read_meta(attribute: dict[str, Any], location: Location) -> fmt.Meta:
    """The attribute of a whole store as ``FeatureMeta`` or ``DatasetMeta``. Raises StoreError."""
    where = str(location)
    fmt.check_attribute(attribute, None, where)
    is_dataset = attribute.get("kind") == "dataset"
    meta: fmt.Meta
    if is_dataset:
        meta = fmt.DatasetMeta.from_attribute(attribute, where)
    else:
        meta = fmt.FeatureMeta.from_attribute(attribute, where)
    try:
        created = record("created", meta.created)
        text("created.id", created.get("id"))
        integer("created.revision", created.get("revision", 0), 0, LARGEST_COUNT)
    except StoreError as error:
        raise StoreError(f"{where}: attribute 'fstore' is malformed ({error}); {RESTORE}") from None
    return meta


def _specs(
    meta: fmt.Meta, num_images: int, group: zarr.Group, location: Location
) -> dict[str, fmt.ArraySpec]:
    specs = [fmt.committed_array(meta.kind, num_images)]
    if isinstance(meta, fmt.DatasetMeta):
        specs += [*fmt.dataset_arrays(meta, num_images), *fmt.filter_arrays(meta, num_images)]
    else:
        latents = require_array(group, "latents", location)
        check_shape(latents, (2, 3), location)
        specs += fmt.feature_arrays(meta, num_images, latents.shape[1:])
    return {spec.name: spec for spec in specs}


def find_array(group: zarr.Group, name: str, location: Location) -> zarr.Array[Any] | None:
    """The array of that path in the group, or None where there is none. Raises StoreError for a damaged
    one.
    """
    with location.reading(f"array {name!r}: its zarr.json"):
        item = group.get(name)
        return item if isinstance(item, zarr.Array) else None


def require_array(group: zarr.Group, name: str, location: Location) -> zarr.Array[Any]:
    """The array, or a StoreError that says what to do about its absence."""
    array = find_array(group, name, location)
    if array is None:
        raise StoreError(f"{location}: array {name!r} is missing; the store is not whole, {RESTORE}")
    return array


def check_shape(array: zarr.Array[Any], dimensions: Iterable[int], location: Location) -> None:
    """Refuse an array with a shape that no store has: a wrong number of axes, or a length out of bounds."""
    where = f"{location}: array {array.path!r}"
    if array.ndim not in dimensions:
        expected = " or ".join(map(str, dimensions))
        raise StoreError(f"{where} has shape {short(array.shape)}, expected {expected} axes; {RESTORE}")
    for axis, size in enumerate(array.shape):
        highest = LARGEST_COUNT if axis == 0 else fmt.LARGEST_AXIS
        integer(f"{where}: length of axis {axis}", size, 0, highest)


def check_array(
    array: zarr.Array[Any], spec: fmt.ArraySpec, location: Location, *, longer: bool = False
) -> None:
    """Refuse an array that is read or written otherwise than the format says. Raises StoreError.

    ``longer``: it may have more images than ``spec``. Dimension names and the fill value change no byte that
    is read. Only ``array_problems`` checks them.
    """
    for what, found, expected in _differences(array, spec):
        if what in ("dimension names", "fill value"):
            continue
        if longer and what == "shape" and found[1:] == expected[1:] and found[0] > expected[0]:
            continue
        line = f"array {spec.name!r} has {what} {short(found)}, expected {short(expected)}"
        raise StoreError(f"{location}: {line}; {RESTORE}")


def array_problems(array: zarr.Array[Any], spec: fmt.ArraySpec, location: Location) -> Iterator[str]:
    """A line for everything in which an array differs from the format."""
    for what, found, expected in _differences(array, spec):
        line = f"{location}: array {spec.name!r} has {what} {short(found)}, expected {short(expected)}"
        grown = what == "shape" and len(found) == len(expected) and found[0] > expected[0]
        yield line + ("; a run with a larger --num was cut off, run it again" if grown else "")


def is_lengthened(array: zarr.Array[Any], spec: fmt.ArraySpec) -> bool:
    """Whether an array is as the format says, but for images beyond those of ``spec``."""
    return array.shape[0] > spec.shape[0] and not list(
        _differences(array, replace(spec, shape=(array.shape[0], *spec.shape[1:])))
    )


def _differences(array: zarr.Array[Any], spec: fmt.ArraySpec) -> Iterator[tuple[str, Any, Any]]:
    """(what, found, expected) of each difference."""
    first = (0,) * len(spec.shape)
    found = {
        "shape": array.shape,
        "dtype": str(array.dtype),
        "chunks": array.chunks,
        "shards": array.shards,
        "codecs": _codecs(array),
        "dimension names": getattr(array.metadata, "dimension_names", None),
        "fill value": array.fill_value,
        "chunk keys such as": array.metadata.encode_chunk_key(first),
    }
    inner = (*_CHUNK_CODECS, "little")
    expected = {
        "shape": spec.shape,
        "dtype": spec.dtype,
        "chunks": spec.chunks,
        "shards": spec.shards,
        "codecs": inner if spec.shards is None else ("sharding_indexed", *inner, *_INDEX_CODECS, "end"),
        "dimension names": spec.dimension_names,
        "fill value": 0,
        "chunk keys such as": "/".join(["c", *map(str, first)]),
    }
    for what, value in expected.items():
        if found[what] != value:
            yield what, found[what], value


def _codecs(array: zarr.Array[Any]) -> tuple[str, ...]:
    """The names of an array's codecs, those of a shard's chunks, then of its index, and where that lies."""
    codecs: Any = array.metadata.to_dict()["codecs"]
    if len(codecs) == 1 and codecs[0]["name"] == "sharding_indexed":
        sharding = codecs[0]["configuration"]
        index = (codec["name"] for codec in sharding["index_codecs"])
        return ("sharding_indexed", *_chain(sharding["codecs"]), *index, sharding["index_location"])
    return _chain(codecs)


def _chain(codecs: Any) -> tuple[str, ...]:
    """Names of the codecs of a chunk, then the order of bytes (little where a byte is a value)."""
    endian = codecs[0].get("configuration", {}).get("endian") if codecs else None
    return (*(codec["name"] for codec in codecs), endian or "little")


def chunk_key(array: zarr.Array[Any], coordinates: Iterable[int]) -> str:
    """Key of a shard (or chunk, where the array has no shards) inside the store."""
    key = array.metadata.encode_chunk_key(tuple(coordinates))
    return f"{array.path}/{key}" if array.path else key
