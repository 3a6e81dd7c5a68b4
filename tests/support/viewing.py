"""A server of `dgan view` in a thread, and requests to it, written out byte by byte where that matters."""

from __future__ import annotations

import io
import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from threading import Thread

import numpy as np
from PIL import Image

from pipeline.viewer.run import serving
from pipeline.viewer.server import Server

POLL_SECONDS = 0.01  # in which a server sees that it is to end


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def pixels(self) -> np.ndarray:
        """The values of a picture."""
        return np.asarray(Image.open(io.BytesIO(self.body)))


@dataclass(frozen=True)
class Viewed:
    """A server that runs."""

    server: Server

    @property
    def port(self) -> int:
        return self.server.server_port

    @property
    def token(self) -> str:
        return self.server.gate.token

    @property
    def key(self) -> str:
        """The key of the page as it is now."""
        data = re.search(r'<script type="application/json" id="data">(.*?)</script>', self.get("").text)
        assert data
        return str(json.loads(data[1])["key"])

    def get(self, route: str, *, method: str = "GET", headers: dict[str, str] | None = None) -> Reply:
        """The reply to a request with the token, on a connection of its own."""
        return self.ask(f"/{self.token}/{route}", method=method, headers=headers)

    def ask(self, target: str, *, method: str = "GET", headers: dict[str, str] | None = None) -> Reply:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, target, headers=headers or {})
            return _reply(connection.getresponse())
        finally:
            connection.close()

    def send(self, content: bytes, *, is_end: bool = True) -> bytes:
        """All that comes back for some bytes, until the server ends the connection; it may do so at once."""
        parts = []
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as client, suppress(OSError):
            client.sendall(content)
            if is_end:
                client.shutdown(socket.SHUT_WR)
            while part := client.recv(65536):
                parts.append(part)
        return b"".join(parts)


def _reply(response: HTTPResponse) -> Reply:
    return Reply(response.status, dict(response.getheaders()), response.read())


@contextmanager
def viewed(store: Path | str) -> Iterator[Viewed]:
    """A server of the store, for the length of a block."""
    with serving(str(store), 0) as (server, _):
        thread = Thread(target=server.serve_forever, args=(POLL_SECONDS,))
        thread.start()
        try:
            yield Viewed(server)
        finally:
            server.shutdown()
            thread.join()
