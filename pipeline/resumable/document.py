"""A description as a JSON document: its version and kind, and the values.

Pure values. It reads and writes no file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from fstore.errors import StoreError
from pipeline.settings.json_values import integer

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

VERSION = 1
Info = TypeVar("Info")


def to_document(kind: str, info: DataclassInstance) -> dict[str, Any]:
    """JSON values, tuples as lists."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(info)))
    return {"version": VERSION, "kind": kind, **values}


def from_document(document: Mapping[str, Any], kind: str, read: Callable[[Any, str], Info]) -> Info:
    """The inverse of ``to_document``; ``read`` makes the description of the values, as a rule of
    `pipeline.settings.json_values`. Raises ValueError, which names the key, for a malformed document.
    """
    if document.get("kind") != kind:
        raise ValueError(f"kind is {document.get('kind')!r:.40}: expected {kind!r}")
    values = {key: value for key, value in document.items() if key not in ("version", "kind")}
    try:
        integer(1, VERSION)(document.get("version"), "version")
        return read(values, "")
    except StoreError as error:
        raise ValueError(str(error)) from None
