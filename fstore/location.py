"""Where a store lies: a folder, or a URL that zarr opens (``s3://``, ``gs://``, ``memory://``, ``file://``).

Opens the Zarr group there, measures disks and files, makes writes durable, sweeps what a killed writer left.
It knows files and groups, not what the arrays in them mean.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import zarr
from zarr.core.sync import sync

from fstore.errors import StoreError

ATTRIBUTE = "fstore"
_PARTIAL = re.compile(r"\.[0-9a-f]{32}\.partial$")  # temporary names of zarr's local store


@dataclass(frozen=True)
class Location:
    """A store's place: ``folder`` is None for a URL. ``str()`` never shows credentials."""

    target: str
    folder: Path | None

    @classmethod
    def parse(cls, path: str | os.PathLike[str]) -> Location:
        """From a path or a URL; ``file://`` becomes a folder."""
        text = os.fspath(path)
        if "://" not in text:
            return cls(text, Path(text))
        parts = urlsplit(text)
        if parts.scheme == "file":
            local = Path(url2pathname(parts.path))
            return cls(str(local), local)
        return cls(text, None)

    def __str__(self) -> str:
        if self.folder is not None:
            return self.target
        parts = urlsplit(self.target)
        host = parts.netloc.rsplit("@", 1)[-1]
        return f"{parts.scheme}://{host}{parts.path}"

    def open_group(self, mode: str = "r") -> zarr.Group:
        """The Zarr v3 group. Raises StoreError when there is none, or it cannot be read."""
        if self.folder is not None and mode == "r" and not self.folder.exists():
            raise StoreError(f"{self}: no such store; expected a folder written by dgan")
        try:
            return zarr.open_group(self.target, mode=mode, zarr_format=3)  # type: ignore[arg-type]
        except FileNotFoundError:
            raise StoreError(f"{self}: is no Zarr v3 group; expected a store written by dgan") from None
        except ImportError as error:
            raise StoreError(f"{self}: {_one_line(error)}; pip install the library that this names") from None
        except (ValueError, KeyError, TypeError, NotADirectoryError) as error:
            raise StoreError(f"{self}: cannot be read as a Zarr v3 group ({_one_line(error)})") from None

    def state(self) -> str:
        """``absent``, ``creating`` (a creation that was cut off), ``store`` or ``foreign`` (something else
        lies there).
        """
        if self.folder is not None:
            if self.folder.is_symlink() and not self.folder.exists():
                raise StoreError(
                    f"{self}: is a link to {self.folder.readlink()}, which does not exist; mend the link"
                )
            if not self.folder.exists():
                return "absent"
            if self.folder.is_dir() and not any(self.folder.iterdir()):
                return "absent"
        try:
            attribute = get_attribute(self.open_group())
        except StoreError:
            if self.folder is None:
                return "absent"
            leftovers = self.folder.is_dir() and all(_PARTIAL.search(p.name) for p in self.folder.iterdir())
            return "creating" if leftovers else "foreign"
        if attribute is None:
            return "foreign"
        return "creating" if attribute.get("creating") else "store"

    def empty(self, names: Iterable[str]) -> None:
        """Delete the store's parts of those ``names``, the group's own file last, and nothing else.

        The folder itself stays: it may be a link to another disk, or hold what is not the store's.
        """
        if self.folder is None:
            group = zarr.open_group(self.target, mode="a")
            for name in names:
                sync(group.store.delete_dir(name))
            sync(group.store.delete("zarr.json"))
            return
        for name in names:
            if (self.folder / name).is_dir():
                shutil.rmtree(self.folder / name)
        self.sweep()
        (self.folder / "zarr.json").unlink(missing_ok=True)

    def keys(self) -> list[str]:
        """Keys of all files of the store; none for a URL."""
        if self.folder is None:
            return []
        files = (entry for entry in self.folder.rglob("*") if entry.is_file())
        return sorted(entry.relative_to(self.folder).as_posix() for entry in files)

    def free_bytes(self) -> int | None:
        """Bytes free on the disk that holds the folder (or would); None for a URL."""
        if self.folder is None:
            return None
        place = self.folder.absolute()
        while not place.exists():
            place = place.parent
        return shutil.disk_usage(place).free

    def used_bytes(self, array: str = "") -> int | None:
        """Bytes of all files of the store, or of one array in it; None for a URL."""
        if self.folder is None:
            return None
        return sum(entry.stat().st_size for entry in (self.folder / array).rglob("*") if entry.is_file())

    def sweep(self) -> int:
        """Delete temporary files that a killed writer left. Returns how many."""
        if self.folder is None:
            return 0
        found = [entry for entry in self.folder.rglob("*.partial") if _PARTIAL.search(entry.name)]
        for entry in found:
            entry.unlink(missing_ok=True)
        return len(found)


def get_array(group: zarr.Group, name: str) -> zarr.Array[Any] | None:
    """The array of that path in the group, or None where there is none."""
    item = group.get(name)
    return item if isinstance(item, zarr.Array) else None


def get_attribute(group: zarr.Group) -> dict[str, Any] | None:
    """The group's ``fstore`` attribute, or None where it has none or something else of that name."""
    attribute = group.attrs.get(ATTRIBUTE)
    return dict(attribute) if isinstance(attribute, dict) else None


def chunk_key(array: zarr.Array[Any], coordinates: Iterable[int]) -> str:
    """Key of a shard (or chunk, where the array has no shards) inside the store."""
    key = array.metadata.encode_chunk_key(tuple(coordinates))
    return f"{array.path}/{key}" if array.path else key


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


def force_to_disk(path: Path) -> None:
    """fsync a file's bytes, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
