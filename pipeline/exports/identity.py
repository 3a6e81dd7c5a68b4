"""What tells two exports apart: the settings that decide the bytes, and a sentence on how two differ.

They stand in the marks of the folder, so that the same command goes on with an export, and another one does
not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from fstore import format as fmt
from pipeline.errors import count, cut, few
from pipeline.exports.content import Content
from pipeline.exports.formats.protocol import ExportInfo
from pipeline.settings.schema import ExportConfig
from pipeline.settings.values import Split

# Settings whose values say nothing to people -> what to say instead.
_SENTENCES = {
    "store": "is of another store",
    "inputs": "is of the store before its annotations were changed",
    "revision": "is of the store before images were added or annotations corrected",
    "label map": "is with another label map",
    "folder": "was made in another folder, whose path its files hold",
}
_HOLD_PATHS = ("released",)  # formats whose files hold the absolute path of their folder


def settings_of(content: Content, config: ExportConfig, info: ExportInfo) -> dict[str, Any]:
    """What decides the bytes of an export, as JSON values, under names for people."""
    meta = content.store.meta
    rule = meta.filter if isinstance(meta, fmt.DatasetMeta) else None
    return {
        "store": content.store.id,
        "inputs": _digest(getattr(meta, "inputs", {})),
        # None where the store was never changed, as in the marks of older versions, which do not have it
        "revision": content.store.revision or None,
        "format": config.format,
        "folder": str(info.out) if config.format in _HOLD_PATHS else None,
        "split": None if config.split is None else _canonical(config.split),
        "seed": config.seed if config.split is not None else None,
        "limit": config.limit,
        "--all": config.all,
        "the filter's keep": getattr(meta, "keep", None),
        "the filter's threshold": getattr(meta, "threshold", None),
        "the filter's rule": None if rule is None else rule.to_json(),
        "the number of images": len(content),
        "label map": content.label_table,
        "the list of classes": [[entry.name, entry.color] for entry in info.classes],
        "ignore": info.ignore,
        "image_encoding": info.image_encoding,
        "jpeg_quality": info.jpeg_quality if info.image_encoding == "jpeg" else None,
    }


def difference(begun: Mapping[str, Any], settings: Mapping[str, Any]) -> str | None:
    """How an export that was begun differs from that of this run, in half a sentence; None if it does not."""
    for name, value in settings.items():
        found = begun.get(name)
        if found == value:
            continue
        if name in _SENTENCES:
            return _SENTENCES[name]
        return f"has other settings: {name} is {_shown(found)}, this run has {_shown(value)}"
    return None


def _shown(value: Any) -> str:
    """A setting's value as people write it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        named = [str(entry[0]) for entry in value if isinstance(entry, list) and entry]
        return f"of {count(len(value), 'class')} ({cut(few(named))})"
    return cut(str(value))


def _canonical(split: Split) -> str:
    """A split as text, the same however its numbers are written."""
    return ",".join(f"{name}={float(fraction)!r}" for name, fraction in split.parts)


def _digest(record: Mapping[str, Any]) -> str:
    """A text that differs where the record differs."""
    return sha256(json.dumps(record, sort_keys=True, default=str).encode()).hexdigest()[:16]
