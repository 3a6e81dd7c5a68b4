"""An HTTP server on 127.0.0.1: bounded connections, bytes and seconds, and no path to any file.

Whatever goes wrong in a connection ends that connection and nothing else. It knows no stores: what is
answered is the business of the function that it is given.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.client import LineTooLong
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from threading import BoundedSemaphore
from typing import Any

from pipeline.viewer.answers import Answer, Refused
from pipeline.viewer.bounded_reader import BoundedReader
from pipeline.viewer.gate import Gate, Question

HOST = "127.0.0.1"
MOST_CONNECTIONS = 32  # at once; a browser opens six
SEND_SECONDS = 60.0  # in which a client has to take an answer
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # a link out of the page must not tell the token
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
Respond = Callable[[Question], Answer]


class Handler(BaseHTTPRequestHandler):
    """One connection: its requests, one after another."""

    protocol_version = "HTTP/1.1"  # keeps connections, of which a page of pictures needs many
    disable_nagle_algorithm = True  # it would hold every body back for 40 ms, until its head is acknowledged
    server: Server

    def setup(self) -> None:
        """Read through the bounds."""
        super().setup()
        self.rfile.close()
        self.reader = BoundedReader(self.connection)
        self.rfile = self.reader  # type: ignore[assignment]

    def handle_one_request(self) -> None:
        """Read a request and answer it. What is no request, or too large or slow, ends the connection."""
        self.close_connection = True
        self.reader.begin()
        try:
            self.raw_requestline = self.rfile.readline()
            if not self.raw_requestline or not self.parse_request():
                return
            self._send(self._answer())
        except LineTooLong:
            self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        except OSError:  # a time-out too, or the browser has gone on to another page
            self.close_connection = True

    def _answer(self) -> Answer:
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # the body is not read, and must not be taken for a request
        try:
            hosts = self.headers.get_all("Host", [])
            return self.server.respond(self.server.gate.passed(self.command, self.path, hosts))
        except Refused as refused:
            return refused.answer
        except Exception as error:
            line = " ".join(str(error).split()) or type(error).__name__
            return Refused(HTTPStatus.INTERNAL_SERVER_ERROR, line).answer

    def _send(self, answer: Answer) -> None:
        self.connection.settimeout(SEND_SECONDS)
        self.send_response_only(answer.status)
        headers = {
            **HEADERS,
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.body)),
            "Content-Security-Policy": answer.policy,
            "Cache-Control": answer.cache_control,
        }
        if answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = "GET, HEAD"
        if self.close_connection:
            headers["Connection"] = "close"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """A request that is none: its status and nothing else. `http.server` would show its version."""
        self.close_connection = True
        self.command, self.request_version = "", self.protocol_version  # whatever was read of them
        self._send(Refused(HTTPStatus(code)).answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a line a picture would bury what the terminal says."""


class Server(ThreadingHTTPServer):
    """Answers with ``respond`` what passes ``gate``. Raises OSError where the port cannot be had."""

    daemon_threads = True
    block_on_close = False  # the program ends at once
    allow_reuse_port = False  # two programs on one port would share its requests
    request_queue_size = 64

    def __init__(self, port: int, token: str, respond: Respond) -> None:
        self.respond = respond
        self._room = BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__((HOST, port), Handler)
        self.gate = Gate(token, self.server_port)

    @property
    def address(self) -> str:
        """The page's URL."""
        return f"http://{HOST}:{self.server_port}/{self.gate.token}/"

    def server_bind(self) -> None:
        """Bind, without a look-up of this machine's name, which may wait for a network."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection, where there is room; else end it."""
        if not self._room.acquire(blocking=False):
            self._turn_away(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread can be had
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def _turn_away(self, request: socket.socket) -> None:
        request.settimeout(0)
        with suppress(OSError):
            request.sendall(
                b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
        self.shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """An error of one connection is the end of that connection only."""
        if isinstance(sys.exception(), MemoryError):
            print("out of memory while a page was served", file=sys.stderr)
