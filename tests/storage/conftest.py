"""A real S3 server for all tests of a session, and for each test a bucket and the environment of its user."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.object_storage import FaultyProxy, make_bucket, s3_server, use

from fstore import clouds, requests

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of an S3 server."""
    pytest.importorskip("obstore")
    pytest.importorskip("moto.server")
    with s3_server() as address:
        yield address


@pytest.fixture
def s3(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket of the server, which the environment gives access to."""
    use(monkeypatch, server, tmp_path / "home")
    return make_bucket(server, f"bucket-{next(_numbers)}")


@pytest.fixture(params=["memory", pytest.param("server", marks=pytest.mark.slow)])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket: in obstore's memory, which takes no time, and of the real server."""
    pytest.importorskip("obstore")
    if request.param == "server":
        return request.getfixturevalue("s3")
    from obstore.store import MemoryStore

    places: dict[str, MemoryStore] = {}
    monkeypatch.setattr(clouds, "_open", lambda url, _: places.setdefault(url.rstrip("/"), MemoryStore()))
    return f"s3://memory-{next(_numbers)}"


@pytest.fixture
def faulty(s3: str, server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """A proxy before the server that the environment leads to, for the bucket ``s3``; waits take no time."""
    proxy = FaultyProxy(server)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
    monkeypatch.setattr(requests, "FIRST_WAIT_SECONDS", 0.001)
    yield proxy
    proxy.close()
