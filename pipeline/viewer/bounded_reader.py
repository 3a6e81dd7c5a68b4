"""Reads the head of a request from a socket, within a number of bytes and a time.

A socket's own time-out begins anew with each byte, so a client that sends one byte a second could hold a
thread for ever. It knows lines and no HTTP.
"""

from __future__ import annotations

import socket
from http.client import LineTooLong
from time import monotonic

HEAD_BYTES = 32 * 1024  # of a request's first line and its headers, together
HEAD_SECONDS = 10.0
IDLE_SECONDS = 15.0  # in which a connection that is kept may be silent
RECEIVE_BYTES = 8 * 1024


class BoundedReader:
    """What `http.server` reads lines from. A class, because it holds what came beyond a line."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._rest = bytearray()
        self._left_bytes = HEAD_BYTES
        self._end: float | None = None

    def begin(self) -> None:
        """A new request: its bytes and its time are counted anew, the time from its first byte."""
        self._left_bytes = HEAD_BYTES
        self._end = None

    def readline(self, _: int = -1) -> bytes:
        """The next line with its end; what there is, where the connection ends before.

        Raises TimeoutError where the request takes too long, LineTooLong where it is too large.
        """
        while (end := self._rest.find(b"\n")) < 0:
            if len(self._rest) > self._left_bytes:
                raise LineTooLong("request")
            received = self._receive()
            if not received:
                end = len(self._rest) - 1
                break
            self._rest += received
        line = bytes(self._rest[: end + 1])
        del self._rest[: end + 1]
        self._left_bytes -= len(line)
        if self._left_bytes < 0:
            raise LineTooLong("request")
        return line

    def close(self) -> None:
        """Nothing: the socket is closed by its owner."""

    def _receive(self) -> bytes:
        if self._end is None and not self._rest:
            self._connection.settimeout(IDLE_SECONDS)
            received = self._connection.recv(RECEIVE_BYTES)
            self._end = monotonic() + HEAD_SECONDS
            return received
        self._end = self._end or monotonic() + HEAD_SECONDS
        left_seconds = self._end - monotonic()
        if left_seconds <= 0:
            raise TimeoutError
        self._connection.settimeout(left_seconds)
        return self._connection.recv(RECEIVE_BYTES)
