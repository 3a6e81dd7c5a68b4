"""What a folder has by itself and a URL lacks: names, sizes, deletion of many, an object that is made once.

Object storage answers by obstore, a page of 1,000 objects a request; other URLs by fsspec, where they can.
It knows keys and bytes. It does not know what they mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from zarr.abc.store import Store
from zarr.core.sync import sync
from zarr.storage import FsspecStore, ObjectStore

from fstore import urls
from fstore.clouds import PAGE, check_not_forked, is_cloud, open_bucket
from fstore.counted_store import CountedStore
from fstore.errors import StoreError
from fstore.requests import requests_of

T = TypeVar("T")


@dataclass(frozen=True)
class Listed:
    """One object of a listing. ``tag`` is what the storage calls its ETag, where it gives one."""

    key: str
    num_bytes: int
    tag: str | None = None


@dataclass(frozen=True)
class Stored:
    """An object's bytes, the version that they are of, and when it was written."""

    content: bytes
    version: dict[str, str]
    written: datetime


class Bucket:
    """The objects of a cloud under a URL. Every method raises RequestError, StoreError for no bucket."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._store = open_bucket(target)
        self._requests = requests_of(target, urls.shown(target))

    def _ask(self, kind: str, key: str, request: Callable[[], T]) -> T:
        check_not_forked(self._target)
        return self._requests.ask_now(kind, key, request)

    def first(self) -> list[Listed]:
        """The first page of the objects: it is short where there are few."""
        import obstore

        def page() -> list[Listed]:
            return _listed(next(iter(obstore.list(self._store, chunk_size=PAGE)), []))

        return self._ask("list", "", page)

    def list(self, prefix: str = "") -> list[Listed]:
        """All objects under a prefix, which ends where a name ends."""
        import obstore

        found = self._ask(
            "list",
            prefix,
            lambda: obstore.list(self._store, prefix=prefix or None, chunk_size=PAGE).collect(),
        )
        for _ in range(max(0, len(found) - 1) // PAGE):  # the pages after the first
            self._requests.count("list", retry=False)
        return _listed(found)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; one that is not there is none to delete."""
        import obstore

        for first in range(0, len(keys), PAGE):
            some = list(keys[first : first + PAGE])
            try:
                self._ask("delete", some[0], lambda some=some: obstore.delete(self._store, some))  # type: ignore[misc]
            except FileNotFoundError:  # Google and Azure say so of one that is not there
                for key in some:
                    self._delete_one(key)

    def _delete_one(self, key: str) -> None:
        import obstore

        try:
            self._ask("delete", key, lambda: obstore.delete(self._store, key))
        except FileNotFoundError:
            return

    def get(self, key: str) -> Stored | None:
        """One object; None where it is not there."""
        import obstore

        def read() -> Stored:
            found = obstore.get(self._store, key)
            version = {name: str(found.meta[name]) for name in ("e_tag", "version") if found.meta.get(name)}
            return Stored(bytes(found.bytes()), version, found.meta["last_modified"])

        try:
            return self._ask("get", key, read)
        except FileNotFoundError:
            return None

    def put_once(self, key: str, content: bytes, version: dict[str, str] | None = None) -> bool:
        """Write an object that is not there or, with ``version``, is still of that version. Returns whether
        it was. Raises NotSupportedError of obstore, or another, where the storage knows no such condition.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: Any = "create" if version is None else version
        try:
            self._ask("put", key, lambda: obstore.put(self._store, key, content, mode=mode))
        except (AlreadyExistsError, PreconditionError, FileNotFoundError):
            return False
        return True


def _listed(found: Sequence[Any]) -> list[Listed]:
    return [Listed(each["path"], each["size"], each.get("e_tag")) for each in found]


def open_url(target: str, read_only: bool) -> CountedStore:
    """The zarr store at a URL. Raises StoreError where its scheme is not known, or a package is missing."""
    if is_cloud(target):
        store: Store = ObjectStore(open_bucket(target), read_only=read_only)
    else:
        _require_protocol(target)
        store = FsspecStore.from_url(target, read_only=read_only)
    return CountedStore(store, target, requests_of(target, urls.shown(target)), open_url)


def _require_protocol(target: str) -> None:
    """Refuse a URL that no installed library opens, naming its scheme."""
    shown, scheme = urls.shown(target), urls.scheme_of(target)
    try:
        from fsspec.registry import get_filesystem_class
    except ImportError:
        raise StoreError(
            f"{shown}: URLs of scheme {scheme!r} need fsspec; run: pip install 'dgan[remote]'"
        ) from None
    try:
        get_filesystem_class(scheme)
    except ImportError as error:
        reason = urls.hide(" ".join(str(error).split()), target)
        raise StoreError(
            f"{shown}: what opens URLs of scheme {scheme!r} is not installed ({reason}); pip install it"
        ) from None
    except ValueError:
        raise StoreError(
            f"{shown}: the URL scheme {scheme!r} is not known; expected s3, gs, az or another of fsspec, or "
            "a folder"
        ) from None


def list_url(target: str, prefix: str = "") -> list[Listed]:
    """All objects of the store at a URL, or under a prefix in it; sizes where they come with the names."""
    if is_cloud(target):
        return Bucket(target).list(prefix)
    store = open_url(target, True)

    async def collected() -> list[Listed]:
        keys = [key async for key in (store.list_prefix(f"{prefix}/") if prefix else store.list())]
        return [Listed(key, await store.getsize(key)) for key in keys]

    return sync(collected())


def delete_url(target: str, keys: Sequence[str]) -> None:
    """Delete objects of the store at a URL."""
    if is_cloud(target):
        Bucket(target).delete(keys)
        return
    store = open_url(target, False)
    for key in keys:
        sync(store.delete(key))
