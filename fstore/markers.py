"""Reads which images of a store are committed. At a URL it asks for few objects, however many images.

A marker that is missing or damaged counts as 0; one that the system does not let be read is an error. This
module knows markers. It does not know what they promise.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import zarr
from zarr.core.sync import sync

from fstore.clouds import is_cloud
from fstore.errors import CorruptionError
from fstore.inventory import chunk_key
from fstore.local_shards import decode_chunk
from fstore.location import Location
from fstore.objects import Bucket, Listed, list_url
from fstore.stored_files import WAY_OUT, FileGetter, get_file

FEW_FILES = 4  # for so many it is not worth while to ask for their names first


def read_markers(
    array: zarr.Array[Any], location: Location, start: int = 0, stop: int | None = None
) -> np.ndarray:
    """``committed`` of images [start, stop) as bool. A marker that is missing or damaged counts as 0.

    Raises UnreadableError where the system does not let a marker be read: nobody knows what it says.
    """
    stop = array.shape[0] if stop is None else stop
    step = array.chunks[0]
    markers = np.zeros(stop - start, dtype=bool)
    chunks = range(start // step, -(-stop // step))
    for chunk, content in _contents(array, location, chunks):
        try:
            values = _decoded(array, location, chunk, content)
        except CorruptionError:
            continue
        first, last = max(chunk * step, start), min((chunk + 1) * step, stop)
        markers[first - start : last - start] = values[first - chunk * step : last - chunk * step] == 1
    return markers


def read_marker_file(array: zarr.Array[Any], location: Location, chunk: int) -> np.ndarray:
    """One chunk of ``committed``, uint8; zeros where no file is there. Raises CorruptionError for damage,
    UnreadableError where the file cannot be read.
    """
    content = get_file(array, location, chunk_key(array, [chunk]), _name(chunk))
    return _decoded(array, location, chunk, content)


def read_markers_beyond(array: zarr.Array[Any], location: Location, num_images: int) -> dict[int, range]:
    """Markers of images that a store of ``num_images`` does not have, by the chunk of their file.

    They would count as soon as the store is lengthened. They are whole files beyond the last image, whatever
    is in them, and places of the last file that are not 0. Nothing is found where files cannot be listed, and
    in a file that is damaged.
    """
    step = array.chunks[0]
    end, inside = divmod(num_images, step)
    first_outside = end + (inside > 0)
    found = {
        chunk: range(chunk * step, (chunk + 1) * step)
        for chunk in sorted(_listed_chunks(array, location))
        if chunk >= first_outside
    }
    if inside:
        try:
            places = np.flatnonzero(read_marker_file(array, location, end)[inside:])
        except CorruptionError:
            return found
        if len(places):
            start = end * step + inside
            found[end] = range(start + int(places[0]), start + int(places[-1]) + 1)
    return found


def _listed_chunks(array: zarr.Array[Any], location: Location) -> set[int]:
    """The chunks of an array of one axis that have a file."""
    if location.folder is not None:
        folder = location.folder / array.path / "c"
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    elif array.store.supports_listing:
        names = [each.key.rpartition("/")[2] for each in list_url(location.target, f"{array.path}/c")]
    else:
        return set()
    return {int(name) for name in names if name.isascii() and name.isdecimal()}


def _name(chunk: int) -> str:
    return f"array 'committed', chunk [{chunk}]"


def _decoded(array: zarr.Array[Any], location: Location, chunk: int, content: bytes | None) -> np.ndarray:
    if content is None:
        return np.zeros(array.chunks, np.uint8)
    try:
        return decode_chunk(content, array.chunks, array.dtype)
    except ValueError as error:
        raise CorruptionError(f"{location}: {_name(chunk)} is damaged ({error}); {WAY_OUT}") from None


def _contents(
    array: zarr.Array[Any], location: Location, chunks: range
) -> Iterable[tuple[int, bytes | None]]:
    """The bytes of each chunk's file, None where there is none."""
    if location.folder is not None:
        return (
            (chunk, get_file(array, location, chunk_key(array, [chunk]), _name(chunk))) for chunk in chunks
        )
    if len(chunks) <= FEW_FILES or not is_cloud(location.target):
        found = sync(_get(array, location, list(chunks)))
        return found.items()
    return _by_names(array, location, chunks).items()


async def _get(array: zarr.Array[Any], location: Location, chunks: list[int]) -> dict[int, bytes | None]:
    files = FileGetter(array, location)
    found = await asyncio.gather(*(files.get(chunk_key(array, [chunk]), _name(chunk)) for chunk in chunks))
    return dict(zip(chunks, found, strict=True))


def _by_names(array: zarr.Array[Any], location: Location, chunks: range) -> dict[int, bytes | None]:
    """By one listing of all names. Of files with the same tag one is read, where the tag is the MD5 of its
    bytes, as S3 has it for objects of one part: then the others have the same bytes.
    """
    listed = {each.key: each for each in Bucket(location.target).list(f"{array.path}/c")}
    keys = {chunk: chunk_key(array, [chunk]) for chunk in chunks}
    there = {chunk: listed[key] for chunk, key in keys.items() if key in listed}
    first_of: dict[tuple[str | None, int], int] = {}
    for chunk, each in there.items():
        first_of.setdefault((each.tag, each.num_bytes), chunk)
    found = sync(_get(array, location, list(first_of.values())))
    same = {tag: found[chunk] for tag, chunk in first_of.items() if _is_md5(there[chunk], found[chunk])}
    others = [
        chunk
        for chunk, each in there.items()
        if chunk not in found and (each.tag, each.num_bytes) not in same
    ]
    found |= sync(_get(array, location, others))
    return found | {
        chunk: same[each.tag, each.num_bytes] for chunk, each in there.items() if chunk not in found
    }


def _is_md5(listed: Listed, content: bytes | None) -> bool:
    if content is None or listed.tag is None or len(content) != listed.num_bytes:
        return False
    return listed.tag.strip('"') == hashlib.md5(content, usedforsecurity=False).hexdigest()
