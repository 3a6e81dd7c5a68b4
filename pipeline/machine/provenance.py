"""Says what made a file, and when. Only in this do the results of two equal runs differ."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from fstore._version import __version__
from fstore.values import printable
from pipeline.errors import count, cut


def created_record(**details: str) -> dict[str, str]:
    """Program version and UTC time, for the ``created`` key of stores and interpreters; then ``details``."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"program": f"dgan {__version__}", "time": now, **details}


def translator_words(record: Mapping[str, Any]) -> str:
    """What a dataset's ``translator`` says, in a few words: ``translator, trained for 50 epochs towards
    photos``.
    """
    folder, target, epochs = record.get("folder"), record.get("target"), record.get("epochs")
    words = [cut(printable(folder)) if isinstance(folder, str) else "a network"]
    if isinstance(epochs, int):
        words.append(f"trained for {count(epochs, 'epoch')}")
    if isinstance(target, Mapping):
        target = target.get("name")
    if isinstance(target, str):
        words.append(f"towards {cut(printable(target))}")
    return words[0] if len(words) == 1 else f"{words[0]}, {' '.join(words[1:])}"
