"""The file of a page: whether it may be replaced, and how it is written whole."""

from __future__ import annotations

import os
from pathlib import Path

from fstore.urls import is_url
from pipeline.errors import UsageError
from pipeline.interpreter.folder import replace_file
from pipeline.reports.page import MARK

STORE_FILE = "zarr.json"  # is in every group of Zarr v3
_BEGINNING = 1024  # bytes in which the mark stands


def check_place(out: Path, source: str, *, overwrite: bool) -> None:
    """Raise UsageError where a page of ``source`` must not or cannot be written to ``out``."""
    if out.is_dir():
        raise UsageError(f"{out}: is a folder; expected the name of an HTML file, pass --out report.html")
    if not out.parent.is_dir():
        raise UsageError(f"{out}: its folder {out.parent} does not exist; make it, or name another --out")
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise UsageError(f"{out}: no file can be made in its folder {out.parent}; name another --out")
    if (holder := _holder(out, source)) is not None:
        raise UsageError(f"{out}: lies in {holder}, which has files of its own only; name another --out")
    if not out.exists():
        return
    if not out.is_file():  # a pipe or a device would be replaced, or waited for
        raise UsageError(f"{out}: is no regular file; name another --out")
    if not overwrite and not is_page(out):
        raise UsageError(
            f"{out}: is a file that `dgan report` did not write; name another --out, or pass --overwrite"
        )


def _holder(out: Path, source: str) -> Path | None:
    """The store or interpreter in which ``out`` lies: the page's own source, or any other store."""
    own = None if is_url(source) else Path(source).resolve()
    for folder in out.resolve().parents:
        if folder == own or (folder / STORE_FILE).is_file():
            return folder
    return None


def is_page(path: Path) -> bool:
    """Whether a file begins as a page does."""
    with path.open("rb") as file:
        return MARK.encode() in file.read(_BEGINNING)


def write_page(out: Path, text: str) -> int:
    """Write the page whole: to a file beside it, forced to the disk, then renamed. Returns its bytes.

    Raises OSError, which names ``out``.
    """
    content = text.encode()
    try:
        replace_file(out, lambda path: path.write_bytes(content))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(out)) from error
    return len(content)
