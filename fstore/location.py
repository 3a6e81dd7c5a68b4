"""Where a store lies: a folder, or a URL (``s3://``, ``gs://``, ``az://``, ``memory://``, ``file://``).

It opens the Zarr group there, measures disks and files, and deletes what a killed writer left. Every failure
is a StoreError of one line that shows no secret. It does not know what the arrays in a group mean.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zarr
from zarr.abc.store import Store
from zarr.errors import ContainsArrayError

from fstore import objects, urls
from fstore.clouds import is_cloud
from fstore.errors import StoreError, UnreadableError
from fstore.local_files import FolderStore, force_to_disk

ATTRIBUTE = "fstore"
LOCK = ".writer-lock"  # an object beside zarr.json, while somebody writes to object storage
RESTORE = "restore it from a copy, or delete the store and write it again"
_PARTIAL = re.compile(r"\.[0-9a-f]{32}\.partial$")  # temporary names of zarr's local store
# Metadata, a chunk's last coordinate, and names with a dot in front, which systems and programs give.
_OWN_FILE = re.compile(r"^(zarr\.json|[0-9]+|\..*)$|" + _PARTIAL.pattern)
# What parsing of damaged metadata ends in. RecursionError: JSON that is nested too deeply.
_DAMAGE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
_WAYS_OUT = {
    errno.EACCES: "give this user the permission to read it",
    errno.EPERM: "give this user the permission to read it",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close programs that have many files open",
}


@dataclass(frozen=True, repr=False)
class Location:
    """A store's place: ``folder`` is None for a URL.

    ``target`` is what zarr opens, and may hold a secret. ``str()`` and ``repr()`` never show one.
    """

    target: str
    folder: Path | None

    @classmethod
    def parse(cls, path: str | os.PathLike[str]) -> Location:
        """From a path or a URL; ``file://`` becomes a folder. Raises StoreError for what is neither."""
        text = os.fsdecode(path)
        urls.check_place(text)
        if urls.is_url(text) and urls.scheme_of(text) == "file":
            text = urls.local_path(text)
        return cls(text, None if urls.is_url(text) else Path(text))

    def __str__(self) -> str:
        return self.target if self.folder is not None else urls.shown(self.target)

    def __repr__(self) -> str:
        return f"Location({str(self)!r})"

    @property
    def is_volatile(self) -> bool:
        """Whether what is written there ends with this process: ``memory://``."""
        return self.folder is None and urls.scheme_of(self.target) == "memory"

    def hide(self, message: str) -> str:
        """A message of a library, on one line and without this place's secrets."""
        line = " ".join(message.split())
        return line if self.folder is not None else urls.hide(line, self.target)

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Raise a StoreError of one line for any error of the block. It names the store and ``what`` is read.

        The error is UnreadableError where the system refuses to read, and StoreError where the content is
        damaged.
        """
        try:
            yield
        except (StoreError, MemoryError):
            raise
        except _DAMAGE as error:
            reason = self.hide(str(error)) or type(error).__name__
            raise StoreError(f"{self}: {what} is damaged ({reason[:200]}); {RESTORE}") from None
        except Exception as error:
            raise self.unreadable(what, error) from None

    @contextmanager
    def writing(self, what: str) -> Iterator[None]:
        """Raise a StoreError where the block cannot write damaged content again. Errors of the system, such
        as a full disk, are raised as they are.
        """
        try:
            yield
        except _DAMAGE as error:
            reason = self.hide(str(error))[:200]
            raise StoreError(f"{self}: {what} cannot be written again ({reason}); {RESTORE}") from None

    def unreadable(self, what: str, error: Exception) -> UnreadableError:
        """The error to raise where the system refuses to read ``what``: it names file, reason and way out."""
        number = error.errno if isinstance(error, OSError) else None
        reason = os.strerror(number) if number else self.hide(str(error)) or type(error).__name__
        file = getattr(error, "filename", None)
        named = f"{reason}: {self.hide(os.fsdecode(file))}" if isinstance(file, str | bytes) else reason
        way_out = _WAYS_OUT.get(number or 0, "see to that, then run this again")
        return UnreadableError(f"{self}: {what} cannot be read ({named}); {way_out}")

    def store(self, *, read_only: bool) -> str | Store:
        """What zarr opens: the folder's path, to write there a store whose errors name the file; or the store
        at the URL, which counts and retries requests.
        """
        if self.folder is None:
            return objects.open_url(self.target, read_only)
        return self.target if read_only else FolderStore(self.folder)

    def open_group(self, mode: str = "r") -> zarr.Group:
        """The Zarr v3 group. Raises StoreError when there is none, or it cannot be read."""
        with self.reading("the folder"):
            if self.folder is not None and not self.folder.exists():
                raise StoreError(f"{self}: no such store; expected a folder written by dgan")
            if self.folder is not None and not self.folder.is_dir():
                raise StoreError(f"{self}: is a file; expected a folder written by dgan")
        group = self._find_group(mode)
        if group is None and self._is_vacant():
            raise StoreError(f"{self}: no such store; expected one written by dgan")
        if group is None:
            raise StoreError(f"{self}: is no Zarr v3 group; expected a store written by dgan")
        return group

    def _find_group(self, mode: str = "r") -> zarr.Group | None:
        """The group, None where no ``zarr.json`` is. Its copies of the arrays' metadata are not used: they
        go stale when a dataset is lengthened.
        """
        with self.reading("zarr.json"):
            try:
                return zarr.open_group(
                    self.store(read_only=mode == "r"),
                    mode=mode,  # type: ignore[arg-type]
                    zarr_format=3,
                    use_consolidated=False,
                )
            except (FileNotFoundError, NotADirectoryError):
                return None
            except ContainsArrayError:
                raise StoreError(
                    f"{self}: is one Zarr array, expected a store; pass the folder that dgan wrote"
                ) from None

    def state(self) -> str:
        """``absent``, ``creating`` (a creation that was cut off), ``store`` or ``foreign`` (something else
        lies there). Raises StoreError where that cannot be told: what is there is damaged or not readable.
        """
        with self.reading("the folder"):
            state = self._folder_state()
        if state is not None:
            return state
        group = self._find_group()
        if group is None:
            return "absent" if self._is_vacant() else "foreign"
        attribute = get_attribute(group)
        if attribute is None:
            return "foreign"
        return "creating" if attribute.get("creating") else "store"

    def _is_vacant(self) -> bool:
        """Whether nothing lies at the URL, where that can be told; a page of names is asked for.

        Raises StoreError where there is no such bucket.
        """
        if self.folder is not None:
            return False
        if not is_cloud(self.target):
            return True  # not every protocol of fsspec lists
        return all(found.key == LOCK for found in objects.Bucket(self.target).first())

    def _folder_state(self) -> str | None:
        """The state, where it follows from the names in the folder; None where the group has to be read."""
        if self.folder is None:
            return None
        if not self.folder.exists():
            if self.folder.is_symlink():
                raise StoreError(
                    f"{self}: is a link to {self.folder.readlink()}, which does not exist; mend the link"
                )
            return "absent"
        if not self.folder.is_dir():
            return "foreign"
        names = [entry.name for entry in self.folder.iterdir()]
        if names and all(_PARTIAL.search(name) for name in names):
            return "creating"
        return None if names else "absent"

    def empty(self, names: Iterable[str]) -> None:
        """Delete the store's parts of those ``names``, the group's own file last, and nothing else.

        The folder itself stays: it may be a link to another disk, or hold files that are not the store's.
        Where a part is a link, the link is deleted, and never the folder that it leads to.
        """
        if self.folder is None:
            parts = set(names)
            found = [each.key for each in objects.list_url(self.target)]
            objects.delete_url(self.target, [key for key in found if key.partition("/")[0] in parts])
            objects.delete_url(self.target, ["zarr.json"])
            return
        for part in self._parts(names):
            part.unlink() if part.is_symlink() else shutil.rmtree(part)
        self.sweep()
        force_to_disk(self.folder)  # arrays without a zarr.json are taken for somebody else's
        (self.folder / "zarr.json").unlink(missing_ok=True)

    def check_parts(self, names: Iterable[str]) -> None:
        """Refuse a folder in which one of the store's ``names`` is a plain file, or has a file in it that no
        store has: ``empty`` would delete it. Raises StoreError.
        """
        for part in self._parts(names):
            if part.is_symlink():
                continue
            if not part.is_dir():
                raise StoreError(f"{self}: {part.name} is a plain file, which no store has; move it away")
            for folder, _, files in os.walk(part):
                for name in files:
                    if not _OWN_FILE.search(name):
                        where = Path(folder, name).relative_to(self.folder or part)
                        raise StoreError(f"{self}: {where} is a file that no store has; move it away")

    def _parts(self, names: Iterable[str]) -> list[Path]:
        if self.folder is None:
            return []
        return [part for name in names if os.path.lexists(part := self.folder / name)]

    def keys(self) -> list[str]:
        """Keys of all files of the store, without the writer's lock."""
        if self.folder is None:
            return sorted(each.key for each in objects.list_url(self.target) if each.key != LOCK)
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
        """Bytes of all files of the store, or of one array in it; None at a URL that does not list."""
        if self.folder is None:
            return self._listed_bytes(array)
        used = 0
        for entry in (self.folder / array).rglob("*"):
            with suppress(FileNotFoundError):  # a temporary file of a writer that is at work
                used += entry.stat().st_size if entry.is_file() else 0
        return used

    def _listed_bytes(self, array: str) -> int | None:
        if not (is_cloud(self.target) or self.is_volatile):
            return None
        return sum(each.num_bytes for each in objects.list_url(self.target, array) if each.key != LOCK)

    def sweep(self) -> int:
        """Delete temporary files that a killed writer left. Returns how many. At a URL there are none: an
        object is there whole, or not at all.
        """
        if self.folder is None:
            return 0
        found = [entry for entry in self.folder.rglob("*.partial") if _PARTIAL.search(entry.name)]
        for entry in found:
            entry.unlink(missing_ok=True)
        return len(found)


def get_attribute(group: zarr.Group) -> dict[str, Any] | None:
    """The group's ``fstore`` attribute, or None where it has none or something else of that name."""
    attributes = group.metadata.attributes
    attribute = attributes.get(ATTRIBUTE) if isinstance(attributes, dict) else None
    return dict(attribute) if isinstance(attribute, dict) else None


def set_attribute(group: zarr.Group, attribute: dict[str, Any], location: Location) -> None:
    """Replace the group's ``fstore`` attribute; what others have written beside it stays. Raises StoreError
    where that cannot be written again.
    """
    with location.writing("zarr.json"):
        group.attrs[ATTRIBUTE] = attribute
