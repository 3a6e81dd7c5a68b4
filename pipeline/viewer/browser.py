"""Opens a page in the user's browser, where there is one with a window. It never waits, and never fails."""

from __future__ import annotations

import os
import sys
import webbrowser
from threading import Thread

DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")  # BROWSER: the user says which, so there is one


def open_page(address: str) -> None:
    """Open the page in a thread of its own: some browsers are waited for until they end."""
    if has_display():
        Thread(target=_open, args=(address,), daemon=True).start()


def has_display() -> bool:
    """Whether a browser could show a window here."""
    return sys.platform in ("win32", "darwin") or any(os.environ.get(name) for name in DISPLAYS)


def _open(address: str) -> None:
    try:
        found = webbrowser.get()
        if type(found) is webbrowser.GenericBrowser and "BROWSER" not in os.environ:
            return  # lynx, w3m: it would take the terminal in which the address stands
        found.open(address)
    except Exception:  # no browser at all, or one that cannot start: the address was printed
        return
