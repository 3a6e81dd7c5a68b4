"""A zarr store at a URL whose requests are counted, retried where that may help, and fail with one line.

It is a wrapper around zarr's store of obstore or fsspec. A pickle of it has the URL alone: who opens it
takes the credentials of the own environment.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import ObjectStore, WrapperStore

from fstore.clouds import PAGE, check_not_forked, is_cloud
from fstore.errors import BeyondEndError
from fstore.requests import Requests


class CountedStore(WrapperStore[Store]):
    """The store at ``target``. ``reopen`` opens it anew in another process, from (target, read_only)."""

    def __init__(
        self, store: Store, target: str, requests: Requests, reopen: Callable[[str, bool], CountedStore]
    ) -> None:
        super().__init__(store)
        self.target, self.requests, self._reopen = target, requests, reopen

    def _with_store(self, store: Store) -> CountedStore:
        return type(self)(store, self.target, self.requests, self._reopen)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._reopen, (self.target, self.read_only)

    def __str__(self) -> str:
        return self.requests.shown

    def __repr__(self) -> str:
        return f"CountedStore({self.requests.shown!r})"

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, CountedStore) and self.target == other.target
        return same and self.read_only == other.read_only  # type: ignore[attr-defined]

    __hash__ = None  # type: ignore[assignment]

    async def _ask(self, kind: str, key: str, request: Callable[[], Awaitable[Any]]) -> Any:
        if is_cloud(self.target):
            check_not_forked(self.target)
        return await self.requests.ask(kind, key, request)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """See zarr's Store. None where there is no such object, no bytes where it is too short."""
        try:
            found = await self._ask("get", key, lambda: self._store.get(key, prototype, byte_range))
        except BeyondEndError:
            found = prototype.buffer.from_bytes(b"")
        return found

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """See zarr's Store; one request after another."""
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    async def exists(self, key: str) -> bool:
        """See zarr's Store."""
        return bool(await self._ask("head", key, lambda: self._store.exists(key)))

    async def getsize(self, key: str) -> int:
        """See zarr's Store."""
        return int(await self._ask("head", key, lambda: self._store.getsize(key)))

    async def set(self, key: str, value: Buffer) -> None:
        """See zarr's Store. An object is there whole or not at all."""
        await self._ask("put", key, lambda: self._store.set(key, value))

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """See zarr's Store."""
        await self._ask("put", key, lambda: self._store.set_if_not_exists(key, value))

    async def delete(self, key: str) -> None:
        """See zarr's Store."""
        await self._ask("delete", key, lambda: self._store.delete(key))

    async def _set_many(self, values: Iterable[tuple[str, Buffer]]) -> None:
        await Store._set_many(self, values)

    async def _get_many(
        self, requests: Iterable[tuple[str, BufferPrototype, ByteRequest | None]]
    ) -> AsyncGenerator[tuple[str, Buffer | None], None]:
        async for found in Store._get_many(self, requests):
            yield found

    async def delete_dir(self, prefix: str) -> None:
        """See zarr's Store. Object storage deletes 1,000 objects a request."""
        if not isinstance(self._store, ObjectStore):
            await self._ask("delete", prefix, lambda: self._store.delete_dir(prefix))
            return
        import obstore

        bucket = self._store.store
        keys = [key async for key in self.list_prefix(prefix.rstrip("/") + "/" if prefix else "")]
        for first in range(0, len(keys), PAGE):
            some = keys[first : first + PAGE]
            await self._ask("delete", prefix, lambda some=some: obstore.delete_async(bucket, some))  # type: ignore[misc]

    async def is_empty(self, prefix: str) -> bool:
        """See zarr's Store."""
        return bool(await self._ask("list", prefix, lambda: self._store.is_empty(prefix)))

    def list(self) -> AsyncIterator[str]:
        """See zarr's Store."""
        return self._listed("", self._store.list)

    def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """See zarr's Store."""
        return self._listed(prefix, lambda: self._store.list_prefix(prefix))

    def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """See zarr's Store."""
        return self._listed(prefix, lambda: self._store.list_dir(prefix))

    async def _listed(self, prefix: str, names: Callable[[], AsyncIterator[str]]) -> AsyncIterator[str]:
        async def collected() -> list[str]:
            return [name async for name in names()]

        for name in await self._ask("list", prefix, collected):
            yield name
