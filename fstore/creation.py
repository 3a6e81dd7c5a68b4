"""Creates a store: its group, its arrays and its lock. Also opens a store that is there for more writing.

It knows how the arrays of the format are laid out and encoded. It does not know what is written into them,
nor when.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.core.sync import sync

from fstore import format as fmt
from fstore.durable import force_to_disk, sync_all, sync_file, sync_folders
from fstore.errors import StoreError
from fstore.inventory import check_array, chunk_key, read_meta, require_array
from fstore.location import ATTRIBUTE, Location, get_attribute, set_attribute
from fstore.markers import read_markers, read_markers_beyond
from fstore.writer_lock import WriterLock, check_unlocked, lock_place

ZSTD_LEVEL = 1  # measured: docs/performance.md
_KINDS = (fmt.FeatureMeta.kind, fmt.DatasetMeta.kind)


@dataclass(frozen=True)
class OpenGroup:
    """A group that is open for writing, and the lock that keeps other writers out: None without locks."""

    group: zarr.Group
    lock: WriterLock | None

    def close(self) -> None:
        """Let others write."""
        if self.lock is not None:
            self.lock.release()


def create_group(
    location: Location,
    attribute: dict[str, Any],
    arrays: Sequence[fmt.ArraySpec],
    overwrite: bool,
    small: Sequence[tuple[fmt.ArraySpec, np.ndarray]],
    ignored: Sequence[str] = (),
) -> OpenGroup:
    """Open the store for writing, creating it where there is none.

    ``small`` arrays are written whole at creation. A new store gets an id of its own. Keys of the attribute
    that are ``ignored`` may differ from those of a store that is there. The attribute is written last, so
    that a creation that was cut off is begun again, and so is a deletion by ``overwrite``. Raises StoreError
    where something else lies at the place, also a store of the other kind, or another process writes there;
    MismatchError where a store was begun with other settings.
    """
    attribute = json.loads(json.dumps(attribute, allow_nan=False))  # as it reads back from disk
    attribute["created"]["id"] = uuid4().hex
    _usable_state(location, attribute["kind"], overwrite)
    lock = _lock(location)
    try:
        # again: it may have changed before the lock was held
        state = _usable_state(location, attribute["kind"], overwrite)
        if state == "store" and not overwrite:
            return OpenGroup(_resume(location, attribute, ignored), lock)
        if state != "absent":
            _empty(location, state)
        return OpenGroup(_create(location, attribute, arrays, small), lock)
    except BaseException:
        if lock is not None:
            lock.release()
        raise


def check_place(
    location: Location, attribute: dict[str, Any], overwrite: bool, ignored: Sequence[str] = ()
) -> zarr.Group | None:
    """Raise what ``create_group`` would raise for what lies at the place; nothing is written.

    Returns the store that would be gone on with, or None where one would be created.
    """
    state = _usable_state(location, attribute["kind"], overwrite)
    check_unlocked(location)
    if overwrite or state != "store":
        location.check_parts(fmt.TOP_LEVEL)  # what is there would be deleted
        return None
    group = location.open_group()
    _check_settings(location, group, json.loads(json.dumps(attribute, allow_nan=False)), ignored)
    return group


def _usable_state(location: Location, kind: str, overwrite: bool) -> str:
    """The state of a place where a store of that kind may be written.

    Raises StoreError where something else lies there. ``overwrite`` deletes no store of the other kind: who
    names one has most likely taken one store for another, and it may have taken days to make. A kind that
    damage has made unreadable is no reason to refuse: such a store is to be written anew.
    """
    state = location.state()
    if state == "foreign":
        raise StoreError(f"{location}: exists and is not a store of this program; choose another --store")
    if state == "store" and overwrite:
        found = (get_attribute(location.open_group()) or {}).get("kind")
        if found in _KINDS and found != kind:
            raise StoreError(
                f"{location}: is a store of kind {found!r}, and the new one is of kind {kind!r}: --overwrite "
                "replaces only a store of its own kind; choose another --store, or delete this one yourself "
                "if it is not wanted"
            )
    return state


def _resume(location: Location, attribute: dict[str, Any], ignored: Sequence[str]) -> zarr.Group:
    location.sweep()
    group = location.open_group("r+")
    _check_settings(location, group, attribute, ignored)
    return group


def _check_settings(
    location: Location, group: zarr.Group, attribute: dict[str, Any], ignored: Sequence[str]
) -> None:
    found = get_attribute(group) or {}
    fmt.check_attribute(found, attribute["kind"], str(location))
    read_meta(found, location)
    fmt.check_same(found, attribute, str(location), ignored)


def _empty(location: Location, state: str) -> None:
    """Delete a store, or what is left of one, so that it is begun again if the deletion is cut off."""
    location.check_parts(fmt.TOP_LEVEL)
    if state == "store":
        set_attribute(location.open_group("r+"), {"creating": True}, location)
        sync_all(location, ["zarr.json"])
    location.empty(fmt.TOP_LEVEL)


def _create(
    location: Location,
    attribute: dict[str, Any],
    arrays: Sequence[fmt.ArraySpec],
    small: Sequence[tuple[fmt.ArraySpec, np.ndarray]],
) -> zarr.Group:
    store, begun = location.store(read_only=False), {ATTRIBUTE: {"creating": True}}
    group = zarr.create_group(store, overwrite=False, attributes=begun)
    for spec in arrays:
        create_array(group, spec)
    for spec, values in small:
        create_array(group, spec)
        open_for_writing(group, spec, location)[...] = values
    if location.folder is not None:
        sync_all(location, location.keys())
    set_attribute(group, attribute, location)
    sync_all(location, ["zarr.json"])
    return group


def _lock(location: Location) -> WriterLock | None:
    """Lock the store, making its folder first."""
    if location.folder is None:
        return lock_place(location)
    missing = [folder for folder in (location.folder, *location.folder.parents) if not folder.exists()]
    location.folder.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        force_to_disk(folder.parent)
    return lock_place(location)


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


def delete_array(group: zarr.Group, location: Location, name: str) -> None:
    """Delete an array, or what is left of one, where there is one; and force that to the disk."""
    sync(group.store.delete_dir(name))
    if location.folder is not None:
        force_to_disk(location.folder)


def set_length(group: zarr.Group, location: Location, names: Sequence[str], num_images: int) -> None:
    """Give the arrays ``names`` that length. What they hold of images before it stays.

    ``committed`` is never longer than the others, also after a crash: else a reader would ask them for images
    that they do not have. Markers beyond its end are deleted before it grows, and after it has shrunk.
    """
    markers = require_array(group, "committed", location)
    before = markers.shape[0]
    others = [name for name in names if name != "committed"]
    order = [others, ["committed"]] if markers.shape[0] <= num_images else [["committed"], others]
    for some in order:
        if some == ["committed"] and before < num_images:
            delete_markers_beyond(markers, location)
        for name in some:
            array = require_array(group, name, location)
            if array.shape[0] != num_images:
                array.resize((num_images, *array.shape[1:]))
        sync_all(location, [f"{name}/zarr.json" for name in some])


def delete_markers_beyond(markers: zarr.Array[Any], location: Location) -> dict[int, range]:
    """Delete the markers of images that the store does not have. Returns which they were, by chunk.

    Of the file of the last images those are kept; a death in between takes their commitment back.
    """
    num_images, step = markers.shape[0], markers.chunks[0]
    beyond = read_markers_beyond(markers, location, num_images)
    for chunk in beyond:
        start = chunk * step
        kept = read_markers(markers, location, start, num_images) if start < num_images else None
        sync(markers.store.delete(chunk_key(markers, [chunk])))
        if kept is not None:
            markers[start:num_images] = kept.astype(np.uint8)
            sync_file(location, chunk_key(markers, [chunk]))
    if beyond:
        sync_folders(location, [chunk_key(markers, [chunk]) for chunk in beyond])
    return beyond


def open_for_writing(group: zarr.Group, spec: fmt.ArraySpec, location: Location) -> zarr.Array[Any]:
    """The array of that spec, set to write zeros too. Zarr does not store this setting on disk.

    Raises StoreError where the array is absent, damaged or not as the spec says.
    """
    array = require_array(group, spec.name, location)
    check_array(array, spec, location)
    return array.with_config({"write_empty_chunks": True})
