"""A server that fails now and then, and one that refuses: through a proxy before a real S3 server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.object_storage import SECRET, TOKEN, FaultyProxy, objects
from support.stores import fill, make_meta

import fstore
from fstore import clouds
from fstore.errors import RequestError, StoreError
from fstore.location import LOCK, Location
from fstore.object_lock import ObjectLock
from fstore.requests import requests_of
from pipeline.cli import main

NATIVE = (("b4", (4, 4), 2),)
META = make_meta("pyramid", (16, 16), native=NATIVE)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [503, 429, "reset", "lost"])
def test_a_store_written_and_read_while_every_third_request_fails_is_the_same(
    faulty: FaultyProxy, s3: str, tmp_path: Path, fault: int | str
) -> None:
    faulty.faults = lambda number, method, path: fault if number % 3 == 0 else None
    url = f"{s3}/s.zarr"
    fill(url, META, 2, NATIVE)
    assert fstore.verify_store(url).ok
    assert requests_of(url, url).retries >= len(faulty.seen) // 4
    faulty.faults = lambda *_: None
    fill(tmp_path / "s.zarr", META, 2, NATIVE)
    files = {p.relative_to(tmp_path / "s.zarr").as_posix(): p for p in (tmp_path / "s.zarr").rglob("*")}
    found = {key: content for key, content in objects(url).items() if key != "zarr.json"}
    expected = {key: p.read_bytes() for key, p in files.items() if p.is_file() and key != "zarr.json"}
    assert found == expected


def test_a_lock_whose_answer_was_lost_is_held_and_let_go(faulty: FaultyProxy, s3: str) -> None:
    url = f"{s3}/s.zarr"
    faulty.faults = lambda number, method, path: "lost" if number == 0 else None
    lock = ObjectLock(Location.parse(url))
    assert json.loads(objects(url)[LOCK])["owner"] == lock._owner.owner
    lock.release()
    assert objects(url) == {}


@pytest.mark.slow  # it hangs on the clock: an answer has 0.3 s
def test_no_answer_in_time_is_asked_again(
    faulty: FaultyProxy, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clouds, "REQUEST_TIMEOUT", "300ms")
    faulty.faults = lambda number, method, path: "slow" if number == 0 else None
    url = f"{s3}/none.zarr"
    assert Location.parse(url).state() == "absent"
    assert requests_of(url, url).retries >= 1  # a busy machine may answer the next one too late as well


def test_a_refusal_stops_a_command_at_once_with_one_line_and_no_secret(faulty: FaultyProxy, s3: str) -> None:
    faulty.faults = lambda *_: 403
    url = f"{s3}/s.zarr"
    for words in (
        ["export", url, "out", "--format", "png"],
        ["info", url],
        ["verify", url],
        ["filter", url, "--keep", "0.5"],
    ):
        faulty.seen.clear()
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 1 and len(faulty.seen) == 1
        assert f"Error: {url}: cannot get zarr.json: no permission (403 AccessDenied); check" in result.output
        assert result.output.count("\n") == 1
        assert SECRET not in result.output and TOKEN not in result.output


def test_retries_are_told_in_one_line_at_the_end_of_a_command(faulty: FaultyProxy, s3: str) -> None:
    url = f"{s3}/none.zarr"
    faulty.faults = lambda number, method, path: 503 if number in (0, 1, 3) else None
    result = CliRunner().invoke(main, ["verify", url])
    assert result.exit_code == 2 and "no such store" in result.output
    assert f"{url}: the storage was busy or out of reach for a while; retried 3 times\n" in result.output


def test_a_server_that_goes_on_failing_ends_the_run_and_says_how_often_it_was_asked(
    faulty: FaultyProxy, s3: str
) -> None:
    faulty.faults = lambda *_: 503
    with pytest.raises(
        RequestError, match=r"busy or failing .503 SlowDown., retried 8 times; run this again"
    ):
        fstore.open(f"{s3}/s.zarr")


def test_a_wrong_address_is_known_at_once(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(
        StoreError, match=r"^s3://b/s.zarr: cannot get zarr.json: nothing answers there; see to"
    ):
        fstore.open("s3://b/s.zarr")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://no-such-host.invalid")
    with pytest.raises(
        StoreError, match=r"^s3://c/s.zarr: cannot get zarr.json: no such host; see to the end"
    ):
        fstore.open("s3://c/s.zarr")
