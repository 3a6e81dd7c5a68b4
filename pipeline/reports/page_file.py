"""The file of a page: whether it may be replaced, and how it is written whole."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from fstore.durable import force_to_disk
from pipeline.errors import UsageError
from pipeline.reports.page import MARK

_BEGINNING = 1024  # bytes in which the mark stands


def check_place(out: Path, *, overwrite: bool) -> None:
    """Raise UsageError where a page must not or cannot be written to ``out``."""
    if out.is_dir():
        raise UsageError(f"{out}: is a folder; expected the name of an HTML file, pass --out report.html")
    if not out.parent.is_dir():
        raise UsageError(f"{out}: its folder {out.parent} does not exist; make it, or name another --out")
    if out.exists() and not overwrite and not is_page(out):
        raise UsageError(
            f"{out}: is a file that `dgan report` did not write; name another --out, or pass --overwrite"
        )


def is_page(path: Path) -> bool:
    """Whether a file begins as a page does."""
    with path.open("rb") as file:
        return MARK.encode() in file.read(_BEGINNING)


def write_page(out: Path, text: str) -> int:
    """Write the page whole: to a file beside it, forced to the disk, then renamed. Returns its bytes."""
    content = text.encode()
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        force_to_disk(partial)
        os.replace(partial, out)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
    force_to_disk(out.parent)
    return len(content)
