"""The head of a request, read within bytes and seconds, over a pair of sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from http.client import LineTooLong
from threading import Thread

import pytest

from pipeline.viewer import bounded_reader
from pipeline.viewer.bounded_reader import BoundedReader

Pair = tuple[socket.socket, BoundedReader]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """The client's end, and the server's reader."""
    client, server = socket.socketpair()
    with client, server:
        reader = BoundedReader(server)
        reader.begin()
        yield client, reader


def test_lines_are_given_one_by_one_whatever_came_with_them(pair: Pair) -> None:
    client, reader = pair
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /2")
    assert [reader.readline() for _ in range(3)] == [b"GET / HTTP/1.1\r\n", b"Host: a\r\n", b"\r\n"]
    reader.begin()
    client.sendall(b" HTTP/1.1\n")
    client.close()
    assert reader.readline() == b"GET /2 HTTP/1.1\n" and reader.readline() == b""


def test_what_stands_before_the_end_of_the_connection_is_given(pair: Pair) -> None:
    client, reader = pair
    client.sendall(b"GET / HT")
    client.close()
    assert reader.readline() == b"GET / HT" and reader.readline() == b""


@pytest.mark.parametrize("lines", [[b"x" * 70_000], [b"x" * 999 + b"\n"] * 70])
def test_a_head_that_is_too_large_is_refused(pair: Pair, lines: list[bytes]) -> None:
    client, reader = pair
    sender = Thread(target=client.sendall, args=(b"".join(lines),))
    sender.start()
    with pytest.raises(LineTooLong):
        [reader.readline() for _ in range(100)]
    client.close()
    sender.join()


def test_bytes_that_come_one_by_one_win_no_time(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    client, reader = pair
    seconds = iter(range(1000))
    monkeypatch.setattr(bounded_reader, "monotonic", lambda: float(next(seconds)))  # each look is a second
    client.sendall(b"G")
    received = []

    def dripping(num_bytes: int) -> bytes:
        received.append(num_bytes)
        return b"G"

    reader._connection = _Dripping(dripping)  # type: ignore[assignment]
    with pytest.raises(TimeoutError):
        reader.readline()
    assert len(received) == bounded_reader.HEAD_SECONDS


class _Dripping:
    """A connection that has one more byte whenever it is asked."""

    def __init__(self, recv) -> None:
        self.recv = recv

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0
