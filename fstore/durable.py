"""Makes writes durable: forces files to the disk, and then the folders that hold their names.

It knows the files of a store's folder. It does not know what is in them. For a URL it does nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fstore.local_files import force_to_disk as force_to_disk
from fstore.location import Location


def sync_all(location: Location, keys: Sequence[str]) -> None:
    """Force files and the folders above them to the disk."""
    for key in keys:
        sync_file(location, key)
    sync_folders(location, keys)


def sync_file(location: Location, key: str) -> None:
    """Force one file's bytes to the disk: zarr's local store renames and never syncs."""
    if location.folder is not None:
        force_to_disk(location.folder / key)


def sync_folders(location: Location, keys: Iterable[str]) -> None:
    """Force the names of files to the disk: every folder from those of ``keys`` up to the store's own
    parent.
    """
    if location.folder is None:
        return
    top = location.folder.parent
    folders = {
        folder for key in keys for folder in (location.folder / key).parents if folder.is_relative_to(top)
    }
    for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        force_to_disk(folder)
