"""A real S3 server on loopback, buckets in it, and a proxy before it that fails as it is told to."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fstore.requests import requests_of

KEY, SECRET, TOKEN = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMIK7MDENGbPxRfiCY", "FwoGZXIvYXdzEXAMPLE"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN}


@contextmanager
def s3_server() -> Iterator[str]:
    """moto's server on a free port of 127.0.0.1; gives its address."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def use(monkeypatch: pytest.MonkeyPatch, address: str, home: Path) -> None:
    """Set the environment as a user of that server has it, and nothing of this machine's."""
    import os

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": address, "HOME": str(home)}.items():
        monkeypatch.setenv(name, value)


def make_bucket(address: str, name: str) -> str:
    """Make a bucket; gives its URL."""
    assert _request(address, "PUT", f"/{name}")[0] == 200
    return f"s3://{name}"


def _request(address: str, method: str, path: str) -> tuple[int, bytes]:
    connection = HTTPConnection(address.removeprefix("http://"), timeout=30)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def objects(url: str) -> dict[str, bytes]:
    """Key -> bytes of everything under a URL, as obstore reads it."""
    import obstore

    from fstore.clouds import open_bucket

    bucket = open_bucket(url)
    keys = [each["path"] for each in obstore.list(bucket).collect()]
    return {key: bytes(obstore.get(bucket, key).bytes()) for key in keys}


def remove(url: str, key: str) -> None:
    """Delete an object behind the program's back."""
    import obstore

    from fstore.clouds import open_bucket

    obstore.delete(open_bucket(url), key)


def put(url: str, key: str, content: bytes) -> None:
    """Write an object behind the program's back."""
    import obstore

    from fstore.clouds import open_bucket

    obstore.put(open_bucket(url), key, content)


@contextmanager
def counted(url: str) -> Iterator[dict[str, int]]:
    """Kind -> number of requests to a place within the block; the dictionary is filled at its end."""
    requests, found = requests_of(url, url), {}
    before = dict(requests.counts)
    yield found
    asked = {kind: number - before.get(kind, 0) for kind, number in requests.counts.items()}
    found.update({kind: number for kind, number in asked.items() if number})


class FaultyProxy:
    """Hands requests on to a server, but for those that ``faults`` are for: a function of a request's
    number (from 0, of all), method and path that gives None, a status, ``"reset"``, ``"lost"`` (the server
    does it, and the answer is lost) or ``"slow"`` (an answer after a second).
    """

    def __init__(self, target: str) -> None:
        self.faults: Callable[[int, str, str], int | str | None] = lambda *_: None
        self.seen: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        proxy, target_host = self, target.removeprefix("http://")

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except ConnectionError:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with proxy._lock:
                    number = len(proxy.seen)
                    proxy.seen.append((self.command, self.path))
                fault = proxy.faults(number, self.command, self.path)
                if fault == "reset":
                    self.close_connection = True
                    return
                if isinstance(fault, int):
                    code = {503: "SlowDown", 429: "TooManyRequests", 403: "AccessDenied"}.get(fault, "Fault")
                    self.give(fault, [], f"<Error><Code>{code}</Code></Error>".encode())
                    return
                if fault == "slow":
                    time.sleep(1)
                connection = HTTPConnection(target_host, timeout=30)
                connection.request(self.command, self.path, body, dict(self.headers))
                found = connection.getresponse()
                content = found.read()
                connection.close()
                if fault == "lost":
                    self.close_connection = True
                    return
                self.give(found.status, found.getheaders(), content)

            def give(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
                self.send_response_only(status)
                length = {name.lower(): value for name, value in headers}.get("content-length")
                for name, value in headers:
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                head = self.command == "HEAD"
                self.send_header("Content-Length", (length or "0") if head else str(len(content)))
                self.end_headers()
                self.wfile.write(b"" if head else content)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """End the proxy."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
