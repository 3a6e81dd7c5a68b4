"""Brings a feature store up to a run's annotations: its length, its classes, the masks that were corrected.

A correction is written beside what counts, into ``corrected/``. One write of the attribute makes it count,
and then it is moved into place. So a mask is never read with the index of another, and whoever opens the
store at any moment finds it whole, before the correction or after it. It knows arrays and files; features
are never touched.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from fstore import format as fmt
from fstore.allowed_values import check_mask, check_values
from fstore.chunks import CheckedArray
from fstore.compare import OF_ANNOTATIONS
from fstore.creation import create_array, set_length
from fstore.durable import force_to_disk, sync_all
from fstore.errors import CorruptionError
from fstore.inventory import chunk_key, find_array, require_array
from fstore.location import Location, get_attribute, set_attribute
from fstore.revision import Annotated, Revision
from fstore.shards import ShardWriter
from fstore.stored_files import WAY_OUT


def finish_correction(location: Location, group: zarr.Group) -> None:
    """Move a correction into place that counts already, and delete what is left of one that never did."""
    attribute = get_attribute(group) or {}
    if attribute.get(fmt.CORRECTED):
        for name in fmt.ANNOTATIONS:
            _move(location, group, name)
        del attribute[fmt.CORRECTED]
        set_attribute(group, {**attribute, "version": fmt.SETTLED_VERSION}, location)
        sync_all(location, ["zarr.json"])
    sync(group.store.delete_dir(fmt.CORRECTED))
    if location.folder is not None:
        force_to_disk(location.folder)


def revise(
    location: Location,
    group: zarr.Group,
    meta: fmt.FeatureMeta,
    specs: Sequence[fmt.ArraySpec],
    revision: Revision,
    annotated: Annotated,
) -> None:
    """Make the store what ``meta``, ``specs`` and ``annotated`` say, but for images not committed yet.

    ``specs`` are those of every array. The store is lengthened first; then one write of the attribute says
    what it holds from now on. Its revision is raised, so that whoever reads the store can notice.
    Raises StoreError for a corrected mask with a label that is no class, and for keypoints that the format
    excludes.
    """
    by_name = {spec.name: spec for spec in specs if spec.name in fmt.ANNOTATIONS}
    for image in revision.corrected:
        check_mask(meta, annotated.masks[image], image)
        if annotated.keypoints is not None:
            check_values(meta, by_name["keypoints"], annotated.keypoints[image], image)
    found, attribute = get_attribute(group) or {}, json.loads(json.dumps(meta.to_attribute()))
    lengthened = revision.num_images != revision.num_stored
    set_length(group, location, [spec.name for spec in specs], revision.num_images)
    changed = {key: attribute[key] for key in OF_ANNOTATIONS if found.get(key) != attribute[key]}
    other_arrays = any(not _is_alike(group, spec, location) for spec in by_name.values())
    if not (changed or lengthened or revision.corrected):
        return
    created = {**found["created"], "revision": found["created"].get("revision", 0) + 1}
    found = {**found, **changed, "created": created}
    if revision.corrected or other_arrays:
        _write_beside(location, group, list(by_name.values()), revision, annotated, len(meta.classes))
        # An older program would take masks of two rounds, some moved and some not: the version keeps it out.
        found |= {fmt.CORRECTED: True, "version": fmt.CORRECTED_VERSION}
    set_attribute(group, found, location)
    sync_all(location, ["zarr.json"])
    finish_correction(location, group)


def _is_alike(group: zarr.Group, spec: fmt.ArraySpec, location: Location) -> bool:
    """Whether an array differs from the spec in no image's shape and no dtype."""
    array = require_array(group, spec.name, location)
    return (array.shape, str(array.dtype), array.chunks) == (spec.shape, spec.dtype, spec.chunks)


def _write_beside(
    location: Location,
    group: zarr.Group,
    specs: Sequence[fmt.ArraySpec],
    revision: Revision,
    annotated: Annotated,
    num_classes: int,
) -> None:
    """Write the annotations of all committed images into ``corrected/``.

    Those that stay are copied. The run has the same, so that a file which is missing or damaged, as of the
    index, which no comparison reads, is made again.
    """
    beside = [replace(spec, name=f"{fmt.CORRECTED}/{spec.name}") for spec in specs]
    for spec in beside:
        create_array(group, spec)
    writer, keys = ShardWriter(location, group, beside), [f"{fmt.CORRECTED}/zarr.json"]
    for spec, target in zip(specs, beside, strict=True):
        alike = _is_alike(group, spec, location)
        keys.append(f"{target.name}/zarr.json")
        for image in revision.committed:
            if alike and image not in revision.corrected and _is_whole(location, group, spec.name, image):
                keys.append(_copied(location, group, spec.name, target.name, image))
                continue
            values = _annotation(spec.name, image, annotated, num_classes).astype(spec.dtype)
            keys += writer.write(target.name, values[None], (image, *[0] * values.ndim))
    sync_all(location, keys)


def _annotation(name: str, image: int, annotated: Annotated, num_classes: int) -> np.ndarray:
    """What the array ``name`` holds of an image."""
    if name == "class_counts":
        return fmt.class_counts(annotated.masks[image], num_classes)
    values = annotated.masks if name == "masks" else annotated.keypoints
    assert values is not None, "its absence was refused"
    return values[image]


def _is_whole(location: Location, group: zarr.Group, name: str, image: int) -> bool:
    """Whether the file of an image in the array ``name`` can be read whole. Raises UnreadableError."""
    array = require_array(group, name, location)
    try:
        CheckedArray(array, location).read(((image, image + 1), *((0, size) for size in array.shape[1:])))
    except CorruptionError:
        return False
    return True


def _copied(location: Location, group: zarr.Group, source: str, target: str, image: int) -> str:
    """Copy an image's file of one array to the other. Returns the new file's key."""
    array = require_array(group, source, location)
    key = chunk_key(array, [image, *[0] * (array.ndim - 1)])
    copy = f"{target}/{key.removeprefix(source + '/')}"
    _put(group, copy, _required(location, group, key))
    return copy


def _move(location: Location, group: zarr.Group, name: str) -> None:
    """Put ``corrected/name`` in the place of ``name``: files that are the same already are not touched."""
    source = find_array(group, f"{fmt.CORRECTED}/{name}", location)
    if source is None:  # of keypoints, where the store has none
        return
    old = _bytes(group, f"{name}/zarr.json")
    if old != _bytes(group, f"{source.path}/zarr.json"):  # of another shape: no file of it is of use
        sync(group.store.delete_dir(name))
    keys = []
    for key in sorted(sync(_listed(group, source.path))):
        content, place = _required(location, group, key), key.removeprefix(f"{fmt.CORRECTED}/")
        if content != _bytes(group, place):
            _put(group, place, content)
            keys.append(place)
    sync_all(location, keys)


async def _listed(group: zarr.Group, path: str) -> list[str]:
    return [key async for key in group.store.list_prefix(f"{path}/")]


def _bytes(group: zarr.Group, key: str) -> bytes | None:
    buffer = sync(group.store.get(key, default_buffer_prototype()))
    return None if buffer is None else buffer.to_bytes()


def _required(location: Location, group: zarr.Group, key: str) -> bytes:
    content = _bytes(group, key)
    if content is None:
        raise CorruptionError(f"{location}: {key} has gone while it was copied; {WAY_OUT}")
    return content


def _put(group: zarr.Group, key: str, content: bytes) -> None:
    sync(group.store.set(key, default_buffer_prototype().buffer.from_bytes(content)))
