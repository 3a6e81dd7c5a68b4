"""Lists of classes as files: what ``--annotations`` and other programs read beside masks."""

from __future__ import annotations

import json

from pipeline.export.formats.protocol import ExportInfo


def classes_toml(info: ExportInfo) -> str:
    """``classes.toml``, as ``--annotations`` reads it: ``ignore``, and a table ``[[classes]]`` a label."""
    head = "# The classes in the order of their labels.\n"
    if info.ignore is not None:
        head += f"ignore = {info.ignore}  # the label of pixels that belong to no class\n"
    # a JSON text is a TOML text too
    tables = [
        f'[[classes]]\nname = {json.dumps(entry.name, ensure_ascii=False)}\ncolor = "{entry.color}"\n'
        for entry in info.classes
    ]
    return head + "\n" + "\n".join(tables)
