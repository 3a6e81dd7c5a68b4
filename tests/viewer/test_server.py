"""The server over real sockets: what it lets through, what it says, and that nothing ends it."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest
from support.small_datasets import make_classes, write_dataset
from support.viewing import Viewed, viewed

import pipeline
from pipeline.viewer import browser, server
from pipeline.viewer import run as viewer

NUM, SHAPE = 6, (24, 20)
POLICY = "default-src 'none'"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "dataset.zarr"
    labels = np.random.default_rng(1).integers(0, 3, (NUM, *SHAPE)).astype(np.uint8)
    write_dataset(path, make_classes(["a", "b", "c"]), labels, dropped=[2])
    return path


@pytest.fixture(scope="module")
def site(store: Path) -> Iterator[Viewed]:
    """A server that all tests of the module ask; at their end it still answers."""
    with viewed(store) as found:
        yield found
        assert found.get("").status == 200


def test_the_page_and_its_headers(site: Viewed) -> None:
    page = site.get("")
    assert page.status == 200 and "<!doctype html>" in page.text
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Cache-Control"] == "no-store"
    policy = page.headers["Content-Security-Policy"]
    for rule in (POLICY, "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"):
        assert rule in policy.split("; ")
    assert "unsafe" not in policy and "script-src 'sha256-" in policy
    assert len(site.token) >= 32


@pytest.mark.parametrize("route", ["", "all?key=x", "nothing", "image/0?size=1"])
def test_every_answer_is_guarded(site: Viewed, route: str) -> None:
    headers = site.get(route).headers
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert not any(name.lower().startswith("access-control") for name in headers)
    assert "Server" not in headers and POLICY in headers["Content-Security-Policy"]


def test_without_the_token_there_is_nothing(site: Viewed) -> None:
    for target in ("/", "/favicon.ico", f"/{site.token[:-1]}/", f"/{'x' * 32}/all"):
        reply = site.ask(target)
        assert (reply.status, reply.body) == (404, b"")
    assert site.ask("/", method="POST").status == 404


def test_another_host_is_refused(site: Viewed) -> None:
    for host in ("evil.example", f"evil.example:{site.port}", "127.0.0.1:1", f"0.0.0.0:{site.port}"):
        assert site.get("", headers={"Host": host}).status == 403
    assert site.get("", headers={"Host": f"localhost:{site.port}"}).status == 200
    target = f"GET /{site.token}/ HTTP/1.1\r\n"
    assert site.send(f"{target}\r\n".encode()).startswith(b"HTTP/1.1 403 ")  # no Host at all


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods_are_refused(site: Viewed, method: str) -> None:
    reply = site.get("", method=method)
    assert reply.status == 405 and reply.headers["Allow"] == "GET, HEAD"


def test_head_has_the_headers_of_get_and_no_body(site: Viewed) -> None:
    whole, head = site.get(f"image/1?key={site.key}"), site.get(f"image/1?key={site.key}", method="HEAD")
    assert head.body == b"" and head.headers == whole.headers
    assert int(head.headers["Content-Length"]) == len(whole.body) > 0


@pytest.mark.parametrize(
    "path",
    [
        "../../../../etc/passwd",
        "image/../../../etc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "image/%2e%2e%2f0",
        "/etc/passwd",
        "//etc/passwd",
        "image//0",
        "image/0/",
        "image/0%00.png",
        "image/0\\..\\1",
        "image/-1",
        "image/00",
        "image/0.0",
        "image/0x1",
        "image/" + "9" * 5000,
        "zarr.json",
        "images/zarr.json",
        "committed/c/0",
        "all/",
        "ALL",
        "class/-1",
        "class/99999",
        "templates/base.html.j2",
    ],
)
def test_no_path_leads_to_a_file(site: Viewed, store: Path, path: str) -> None:
    reply = site.send(
        f"GET /{site.token}/{path}?key={site.key} HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n\r\n".encode()
    )
    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404 ") and len(body) < 200
    assert b"root:" not in body and b"zarr_format" not in body and str(store).encode() not in body


@pytest.mark.parametrize(
    "route",
    [
        "image/0",  # no key
        "image/0?key=",
        "image/0?key=../x",
        "image/0?key={key}&size=15",
        "image/0?key={key}&size=4097",
        "image/0?key={key}&size=1e3",
        "image/0?key={key}&size=",
        "image/0?key={key}&key={key}",
        "image/0?key={key}&file=/etc/passwd",
        "all?key={key}&from=0",
        "classes?size=16",
        "image/0?key={key}&size=%00",
    ],
)
def test_parameters_are_checked(site: Viewed, route: str) -> None:
    reply = site.get(route.replace("{key}", site.key))
    assert reply.status == 400 and reply.text.count("\n") == 1 and len(reply.text) < 200


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 200 + b"\r\n", b"431"),  # headers
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 60_000 + b"\r\n\r\n", b"431"),  # one header
        (b"GET /" + b"x" * 60_000 + b" HTTP/1.1\r\n\r\n", b"431"),  # the first line
        (b"GET / HTTP/9.9\r\n\r\n", b"505"),
        (b"GET / nonsense HTTP/1.1\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),  # a browser that wants TLS
        (b"GET\r\n\r\n", b"400"),
    ],
)
def test_what_is_no_request_ends_its_connection_alone(site: Viewed, content: bytes, status: bytes) -> None:
    reply = site.send(content)
    if status != b"431" or reply:  # what is too large may meet a connection that is closed already
        assert status in reply[:40], reply[:80]
    assert b"Python" not in reply and b"BaseHTTP" not in reply


@pytest.mark.parametrize("content", [b"", b"\r\n", b"GET / HTTP/1.1\r\nHost"])
def test_a_connection_that_ends_early_is_no_error(
    site: Viewed, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    site.send(content)
    assert site.get("").status == 200
    assert capsys.readouterr() == ("", "")


def test_a_body_is_not_taken_for_a_request(site: Viewed) -> None:
    inner = f"GET /{site.token}/ HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n\r\n"
    for header in (f"Content-Length: {len(inner)}", "Transfer-Encoding: chunked"):
        outer = f"GET /{site.token}/nothing HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n{header}\r\n\r\n"
        assert site.send((outer + inner).encode()).count(b"HTTP/1.1 ") == 1


def test_a_connection_is_kept_for_more_requests(site: Viewed) -> None:
    connection = HTTPConnection("127.0.0.1", site.port, timeout=20)
    statuses = []
    for route in ("", "nothing", ""):
        connection.request("GET", f"/{site.token}/{route}")
        response = connection.getresponse()
        response.read()
        statuses.append((response.status, connection.sock is not None))
    connection.close()
    assert statuses == [(200, True), (404, True), (200, True)]


def test_many_ask_at_once_and_get_the_same(site: Viewed) -> None:
    route = f"image/3?key={site.key}"
    expected = site.get(route).body
    with ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda _: site.get(route), range(48)))
    assert {reply.status for reply in replies} == {200} and {reply.body for reply in replies} == {expected}


def test_connections_are_bounded_and_slow_ones_end(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 3)
    monkeypatch.setattr("pipeline.viewer.bounded_reader.IDLE_SECONDS", 0.3)
    with viewed(store) as small:
        idle = [socket.create_connection(("127.0.0.1", small.port), timeout=20) for _ in range(3)]
        assert b" 503 " in small.send(b"", is_end=False)
        for client in idle:
            assert client.recv(1) == b""  # ended by the server
            client.close()
        for _ in range(100):
            if small.get("").status == 200:
                return
        pytest.fail("the room of ended connections is not given back")


def test_an_error_that_no_code_foresaw_is_one_line(site: Viewed, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_: object) -> None:
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr(site.server, "respond", failing)
    reply = site.get("")
    assert (reply.status, reply.text) == (500, "a b\n")


def test_it_listens_on_this_machine_alone(site: Viewed) -> None:
    assert site.server.socket.getsockname() == ("127.0.0.1", site.port)
    assert site.server.address == f"http://127.0.0.1:{site.port}/{site.token}/"


def test_a_port_in_use_is_one_line(site: Viewed, store: Path) -> None:
    says = f"^port {site.port} of 127.0.0.1 is in use; choose another --port, or leave it out$"
    with pytest.raises(pipeline.UsageError, match=says):
        pipeline.view(store, port=site.port, no_browser=True, say=None)


def test_it_says_where_and_opens_the_browser_there(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    opened: list[str] = []

    def interrupted(self: server.Server) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(server.Server, "serve_forever", interrupted)
    monkeypatch.setattr(viewer, "open_page", opened.append)
    with pytest.raises(KeyboardInterrupt):
        pipeline.view(store, say=said.append)
    (line,) = said
    assert line == f"{store}: 6 images at {opened[0]} (Ctrl-C ends this)"
    with pytest.raises(KeyboardInterrupt):
        pipeline.view(store, no_browser=True, say=said.append)
    assert len(opened) == 1 and said[1] != said[0]  # another token


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="a window can always be shown there")
def test_no_browser_is_looked_for_without_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in browser.DISPLAYS:
        monkeypatch.delenv(name, raising=False)
    assert not browser.has_display()
    monkeypatch.setattr(browser, "Thread", None)  # would fail
    browser.open_page("http://127.0.0.1:1/")
    monkeypatch.setenv("DISPLAY", ":0")
    assert browser.has_display()


def test_a_browser_that_cannot_start_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROWSER", os.devnull)
    browser._open("http://127.0.0.1:1/")
    monkeypatch.setattr(browser.webbrowser, "get", lambda: browser.webbrowser.GenericBrowser("lynx"))
    monkeypatch.delenv("BROWSER")
    monkeypatch.setattr(browser.webbrowser.GenericBrowser, "open", None)  # would take the terminal
    browser._open("http://127.0.0.1:1/")
