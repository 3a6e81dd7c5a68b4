"""Serves the page of a store until it is interrupted."""

from __future__ import annotations

import errno
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fstore.urls import is_url
from pipeline.errors import UsageError, count
from pipeline.interpreter.folder import folder_state
from pipeline.viewer.browser import open_page
from pipeline.viewer.routes import Routes
from pipeline.viewer.server import HOST, Server

TOKEN_BYTES = 24


def view(store: str, *, port: int, open_browser: bool, say: Callable[[str], None]) -> None:
    """Serve until KeyboardInterrupt.

    Args:
        store: folder or URL of a dataset or a feature store. One that is being written may be looked at too.
        port: of 127.0.0.1; 0: a free one.
        open_browser: open the page, where there is a display.
        say: is told the page's address.

    Raises:
        UsageError: the port cannot be had, or the place is an interpreter's. StoreError: there is no store at
            the place, or it is damaged.
    """
    with serving(store, port) as (server, num_images):
        say(f"{store}: {count(num_images, 'image')} at {server.address} (Ctrl-C ends this)")
        with suppress(OSError, ValueError, AttributeError):
            sys.stdout.flush()  # a pipe would get the line at the end
        if open_browser:
            open_page(server.address)
        server.serve_forever()


@contextmanager
def serving(store: str, port: int) -> Iterator[tuple[Server, int]]:
    """A server that listens until the block ends, and how many images its store has committed.

    Raises UsageError, StoreError.
    """
    if not is_url(store) and folder_state(Path(store)) in ("finished", "unfinished"):
        raise UsageError(f"{store}: is an interpreter, which holds no images; `dgan report {store}` shows it")
    routes = Routes(store)
    server = _listening(port, routes)
    try:
        yield server, routes.num_images
    finally:
        routes.areas.stop()
        server.server_close()


def _listening(port: int, routes: Routes) -> Server:
    try:
        return Server(port, secrets.token_urlsafe(TOKEN_BYTES), routes.answer)
    except OSError as error:
        reasons = {errno.EADDRINUSE: "is in use", errno.EACCES: "needs more rights than this user has"}
        if error.errno not in reasons:
            raise
        raise UsageError(
            f"port {port} of {HOST} {reasons[error.errno]}; choose another --port, or leave it out"
        ) from None
