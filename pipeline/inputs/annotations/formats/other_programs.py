"""JSON of programs that is known and not read, so that a message can say whose it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.inputs.annotations.json_file import read_json

JSON_FILES = "[!.]*.[jJ][sS][oO][nN]"  # without the hidden files that macOS leaves in archives


def program_in(folder: Path) -> str | None:
    """The first JSON file of a program whose JSON is known and not read, and whose it is."""
    for path in sorted(folder.glob(JSON_FILES)):
        try:
            program = program_of(read_json(path, "annotations"))
        except UsageError:
            continue
        if program:
            return f"{path.name} is {program}"
    return None


def program_of(document: Any) -> str | None:
    """Whose JSON a document is, of programs whose JSON is known and not read."""
    first = document[0] if isinstance(document, list) and document else document
    if not isinstance(first, dict):
        return None
    keys = set(first)
    marks = {
        "Supervisely's JSON": {"objects", "size"},
        "Label Studio's JSON": {"annotations", "data"},
        "Label Studio's short JSON": {"image", "annotator"},
        "Labelbox's JSON": {"data_row"},
        "CreateML's JSON": {"image", "annotations"},
        "V7's JSON": {"item", "annotations"},
        "GeoJSON": {"type", "features"},
    }
    values = [value for value in first.values() if isinstance(value, dict)]
    if "_via_img_metadata" in keys or (values and all({"filename", "regions"} <= set(v) for v in values)):
        return "the JSON of the VGG Image Annotator"
    return next((name for name, mark in marks.items() if mark <= keys), None)
