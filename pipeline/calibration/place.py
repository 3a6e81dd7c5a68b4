"""Where the files of a calibration may be written: the JSON file and the picture beside it.

It knows files and how ours begin. It does not know what the figures are.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import UsageError
from pipeline.interpreter.folder import check_writable

PICTURE = ".svg"
_HEAD_BYTES = 400
_SIGNS = (b'"kind": "calibration"', b'aria-label="calibration"')  # of the file, of the picture


def picture_path(out: Path) -> Path:
    """Where the picture of ``out`` lies."""
    return out.with_suffix(PICTURE)


def check_place(out: Path) -> None:
    """Refuse a place that cannot be written, or that holds something that no calibration wrote.

    ``--overwrite`` changes nothing about it: what is not ours is never replaced. Raises UsageError.
    """
    if not out.name or out.suffix.lower() == PICTURE:
        found = "is a folder" if not out.name else "is the place of the picture beside the file"
        raise UsageError(f"{out}: {found}; pass a file such as calibration.json with --out")
    for path, sign in zip((out, picture_path(out)), _SIGNS, strict=True):
        if path.is_dir():
            raise UsageError(f"{path}: is a folder; pass a file such as calibration.json with --out")
        if path.exists() and not _begins_with(path, sign):
            raise UsageError(f"{path}: is no file of `dgan calibrate`; move it, or name another --out")
    check_writable(out.parent)


def _begins_with(path: Path, sign: bytes) -> bool:
    """Whether a plain file has the sign near its beginning."""
    if not path.is_file():  # opening a pipe would wait for a writer
        return False
    try:
        with path.open("rb") as file:
            return sign in file.read(_HEAD_BYTES)
    except OSError:
        return False
