"""An interpreter's description on disk: ``interpreter.json``, and every fault in it named.

It knows JSON and files. What the keys mean stands in `pipeline.interpreter.description`.
"""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.errors import UsageError, short
from pipeline.interpreter.description import FORMAT_VERSION, InterpreterInfo
from pipeline.interpreter.folder import DESCRIPTION, damaged, replace_file, unreadable
from pipeline.settings.json_values import parse_object

MAX_BYTES = 2**26  # 65,536 classes take 5 MB


def save_description(folder: Path, info: InterpreterInfo, sha256: str) -> None:
    """Write ``interpreter.json``: the description, and the sha256 of the weights' file."""
    text = json.dumps({**info.to_json(), "sha256": sha256}, indent=2, allow_nan=False) + "\n"
    replace_file(folder / DESCRIPTION, lambda path: path.write_text(text, encoding="utf-8"))


def load_description(folder: Path) -> tuple[InterpreterInfo, str]:
    """The description, and the sha256 that the weights' file must have.

    Raises UsageError, one line, for a file that cannot be read, is damaged, or is of a newer version.
    """
    path = folder / DESCRIPTION
    try:
        num_bytes = path.stat().st_size
        if num_bytes > MAX_BYTES:
            raise damaged(path, f"it has {num_bytes:,} bytes, and a description takes {MAX_BYTES:,} at most")
        document = parse_object(path.read_bytes())
    except OSError as error:
        raise unreadable(path, error) from None
    except ValueError as error:
        raise damaged(path, error) from None
    sha256 = document.get("sha256")
    info = read_info(document, path)
    if not isinstance(sha256, str):
        raise damaged(path, f"sha256 is {short(sha256)}, expected text")
    return info, sha256


def read_info(document: object, path: Path) -> InterpreterInfo:
    """What a document, read from ``path``, describes. Raises UsageError as ``load_description`` does."""
    if not isinstance(document, dict):
        raise damaged(path, "it has no description")
    version = document.get("version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise UsageError(
            f"{path}: format version {short(version)} is newer than {FORMAT_VERSION}, the newest that this "
            "program reads; upgrade it"
        )
    if version != FORMAT_VERSION or document.get("kind") != "interpreter":
        raise damaged(path, f"version is {short(version)}, kind {short(document.get('kind'))}")
    try:
        return InterpreterInfo.from_json(document)
    except ValueError as error:
        raise damaged(path, error) from None
